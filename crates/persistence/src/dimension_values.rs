//! The distinct values of a tenant's dimensions.

use crate::bulk::{OnConflict, Target, columns};
use crate::conn::Conn;
use crate::errors::damaged;
use crate::schema::dimension_values;
use crate::sql::{Id, Word};
use callscope_analytics::ports::StoreError;
use callscope_domain::{AgentName, Dimension, DimensionValue, Provider, ProviderName, TenantId, WorkflowId};
use diesel::prelude::*;
use diesel::sql_types::Text;

const VALUES: Target =
    Target { table: "dimension_values", key: &["dimension", "value"], on_conflict: OnConflict::Fail };
/// Between a provider's type and its name.
const SEPARATOR: char = ':';

columns! {
    /// Values, to be written.
    ValueColumns {
        dimension: Word<Dimension> as Text,
        value: String as Text,
    }
}

/// Every value of a tenant.
pub async fn load_values(conn: &mut Conn, tenant: TenantId) -> Result<Vec<DimensionValue>, StoreError> {
    use dimension_values::columns::*;
    let query = dimension_values::table.filter(tenant_id.eq(Id::from(tenant))).select((dimension, value));
    let rows: Vec<(Word<Dimension>, String)> = conn.load(query).await?;
    rows.into_iter().map(|(of, text)| value_of(of.0, &text)).collect()
}

/// Adds values that are not there yet. The transaction holds the tenant's lock.
pub async fn add_values(conn: &mut Conn, tenant: TenantId, values: &[DimensionValue]) -> Result<(), StoreError> {
    let mut rows = ValueColumns::default();
    for value in values {
        rows.push((Word(value.dimension()), text_of(value)));
    }
    conn.insert(VALUES, tenant, rows).await
}

fn text_of(value: &DimensionValue) -> String {
    match value {
        DimensionValue::Workflow(id) => id.to_string(),
        DimensionValue::Provider(Provider { provider_type, provider_name }) => {
            format!("{provider_type}{SEPARATOR}{provider_name}")
        }
        DimensionValue::Agent(agent) => agent.to_string(),
    }
}

fn value_of(dimension: Dimension, text: &str) -> Result<DimensionValue, StoreError> {
    match dimension {
        Dimension::Workflow => Ok(DimensionValue::Workflow(WorkflowId(text.parse().map_err(damaged)?))),
        Dimension::Provider => {
            let (provider_type, name) =
                text.split_once(SEPARATOR).ok_or_else(|| damaged("a provider without a type"))?;
            let provider_type = provider_type.parse().map_err(damaged)?;
            let provider_name = ProviderName::new(name).map_err(damaged)?;
            Ok(DimensionValue::Provider(Provider { provider_type, provider_name }))
        }
        Dimension::Agent => Ok(DimensionValue::Agent(AgentName::new(text).map_err(damaged)?)),
    }
}
