//! The groups of a tenant, and how their values are written.

use crate::bulk::{OnConflict, Target, columns};
use crate::conn::Conn;
use crate::errors::damaged;
use crate::schema::groups;
use crate::sql::Id;
use callscope_analytics::ports::StoreError;
use callscope_domain::{
    Dimension, ErrorKind, Group, GroupId, GroupValue, ModelName, Provider, ProviderName, TenantId, WorkflowId,
};
use diesel::prelude::*;
use diesel::sql_types::{Integer, SmallInt, Text};

const GROUPS: Target = Target { table: "groups", key: &["dimension", "group_id"], on_conflict: OnConflict::Fail };
/// Between the two parts of a provider and of a kind of errors.
const SEPARATOR: char = ':';

columns! {
    /// Groups, to be written.
    GroupColumns {
        dimension: i16 as SmallInt,
        group_id: i32 as Integer,
        value: String as Text,
    }
}

/// Every group of a tenant.
pub async fn load_groups(conn: &mut Conn, tenant: TenantId) -> Result<Vec<(Group, GroupId)>, StoreError> {
    use groups::columns::*;
    let query = groups::table.filter(tenant_id.eq(Id::from(tenant))).select((dimension, group_id, value));
    let rows: Vec<(i16, i32, String)> = conn.load(query).await?;
    let group = |(code, id, text): (i16, i32, String)| {
        let of = Dimension::from_code(code).ok_or_else(|| damaged("a group of an unknown dimension"))?;
        Ok((Group { dimension: of, value: value_of(of, &text)? }, GroupId(id)))
    };
    rows.into_iter().map(group).collect()
}

/// Adds groups that are not there yet. The transaction holds the tenant's lock.
pub async fn add_groups(conn: &mut Conn, tenant: TenantId, added: &[(Group, GroupId)]) -> Result<(), StoreError> {
    let mut rows = GroupColumns::default();
    for (group, id) in added {
        rows.push((group.dimension.row().code, id.0, text_of(&group.value)));
    }
    conn.insert(GROUPS, tenant, rows).await
}

fn text_of(value: &GroupValue) -> String {
    match value {
        GroupValue::Tenant => String::new(),
        GroupValue::Workflow(id) => id.to_string(),
        GroupValue::Provider(Provider { provider_type, provider_name }) => {
            format!("{provider_type}{SEPARATOR}{provider_name}")
        }
        GroupValue::Model(stage, model) => format!("{stage}{SEPARATOR}{model}"),
        GroupValue::ErrorKind(kind) => kind.to_string(),
        GroupValue::Text(text) => text.to_string(),
    }
}

/// The value of a group as it is stored.
pub fn value_of(dimension: Dimension, text: &str) -> Result<GroupValue, StoreError> {
    let parts = || text.split_once(SEPARATOR).ok_or_else(|| damaged("a group without its second part"));
    match dimension {
        Dimension::Tenant => Ok(GroupValue::Tenant),
        Dimension::Workflow => Ok(GroupValue::Workflow(WorkflowId(text.parse().map_err(damaged)?))),
        Dimension::Provider => {
            let (provider_type, name) = parts()?;
            let provider_type = provider_type.parse().map_err(damaged)?;
            Ok(GroupValue::Provider(Provider {
                provider_type,
                provider_name: ProviderName::new(name).map_err(damaged)?,
            }))
        }
        Dimension::ErrorKind => {
            let (service, level) = parts()?;
            let (service, level) = (service.parse().map_err(damaged)?, level.parse().map_err(damaged)?);
            Ok(GroupValue::ErrorKind(ErrorKind { service, level }))
        }
        Dimension::Model => {
            let (stage, name) = parts()?;
            Ok(GroupValue::Model(stage.parse().map_err(damaged)?, ModelName::new(name).map_err(damaged)?))
        }
        _ => Ok(GroupValue::Text(text.into())),
    }
}
