//! Uses the generated client against a running server. Types are what the compiler checks here.

use anyhow::{Context, ensure};
use callscope_client::types::{
    CallRecord, CallState, CallStatus, ErrorLevel, ErrorRecord, ErrorService, IngestResult, Interval, LoggedErrorItem,
    Period, Problem, ProblemCode, ProviderRecord, ProviderType, PutOutcome, SummaryResponse, WorkflowRecord,
};
use callscope_client::{Client, Error};
use chrono::{DateTime, Utc};
use reqwest::header::{HeaderMap, HeaderValue};
use serde_json::json;
use uuid::Uuid;

const FIRST: Uuid = Uuid::from_u128(0xa);
const SECOND: Uuid = Uuid::from_u128(0xb);
const THIRD: Uuid = Uuid::from_u128(0xc);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let client = connect(&std::env::var("CALLSCOPE_KEY")?)?;
    writes(&client).await?;
    reads(&client).await?;
    error_log(&client).await?;
    refusals(&client).await
}

fn connect(key: &str) -> anyhow::Result<Client> {
    let headers =
        HeaderMap::from_iter([(reqwest::header::HeaderName::from_static("x-api-key"), HeaderValue::from_str(key)?)]);
    let http = reqwest::Client::builder().default_headers(headers).build()?;
    Ok(Client::new_with_client(&std::env::var("CALLSCOPE_URL")?, http))
}

fn instant(text: &str) -> anyhow::Result<DateTime<Utc>> {
    Ok(text.parse()?)
}

fn after() -> anyhow::Result<DateTime<Utc>> {
    instant("2025-06-01T00:00:00Z")
}

fn before() -> anyhow::Result<DateTime<Utc>> {
    instant("2025-06-02T00:00:00Z")
}

async fn writes(client: &Client) -> anyhow::Result<()> {
    let workflow = WorkflowRecord::builder().slug("daily-call").name("Daily Health Check".to_owned());
    let provider = ProviderRecord::builder()
        .provider_type(ProviderType::Stt)
        .provider_name("deepgram")
        .latencies_ms(vec![Some(100.0), Some(200.0), None]);
    let details = [("ms".to_owned(), json!(5))].into_iter().collect::<serde_json::Map<_, _>>();
    let error = ErrorRecord::builder()
        .timestamp(instant("2025-06-01T10:31:00Z")?)
        .service(ErrorService::Stt)
        .level(ErrorLevel::Error)
        .message("Timeout")
        .details(callscope_client::types::ErrorDetails::from(details));
    let state = CallState::builder()
        .status(CallStatus::Completed)
        .started_at(instant("2025-06-01T10:30:00Z")?)
        .ended_at(instant("2025-06-01T10:33:00Z")?)
        .workflow(WorkflowRecord::try_from(workflow)?)
        .total_tokens(1500)
        .providers(vec![ProviderRecord::try_from(provider)?])
        .errors(vec![ErrorRecord::try_from(error)?]);
    let put = client.put_call().call_id(FIRST).body(state).send().await?;
    ensure!(put.status() == 201);
    ensure!((put.call_id, put.result, put.dropped_samples) == (FIRST, PutOutcome::Created, 1));

    let start = instant("2025-06-01T11:00:00Z")?;
    let record = |call_id, status| CallRecord::builder().call_id(call_id).status(status).started_at(start);
    let batch = vec![
        record(SECOND, CallStatus::Failed).ended_at(start).end_reason("no_answer".to_owned()).try_into()?,
        record(THIRD, CallStatus::Active).started_at(Utc::now()).try_into()?,
        record(THIRD, CallStatus::Completed).try_into()?,
    ];
    let ingested: IngestResult = client.ingest_calls().body(batch).send().await?.into_inner();
    ensure!(ingested.accepted == 2);
    let [rejected] = ingested.rejected.as_slice() else { anyhow::bail!("{ingested:?}") };
    ensure!((rejected.index, rejected.call_id.clone()) == (2, Some(THIRD.to_string())));
    ensure!(rejected.errors.first().is_some_and(|error| error.field == "ended_at"));
    Ok(())
}

async fn reads(client: &Client) -> anyhow::Result<()> {
    let summary = client.get_summary().started_after(after()?).started_before(before()?).send().await?;
    let SummaryResponse { total_calls, success_rate, avg_llm_latency_ms, .. } = summary.into_inner();
    let (total_calls, success_rate, latency): (i64, Option<f64>, Option<f64>) =
        (total_calls, success_rate, avg_llm_latency_ms);
    ensure!((total_calls, success_rate, latency) == (2, Some(50.0), None));

    let question = client.get_call_volume().started_after(after()?).started_before(before()?);
    let volume = question.interval(Interval::Day).timezone("Asia/Kolkata").send().await?;
    let answered = volume.headers().get("X-Answered-Window").context("no window")?;
    ensure!(answered == "2025-06-01T00:00:00Z/2025-06-02T00:00:00Z");
    ensure!(volume.interval == Interval::Day);
    let buckets: Vec<(DateTime<Utc>, i64)> =
        volume.data.iter().map(|bucket| (bucket.timestamp, bucket.total)).collect();
    ensure!(buckets == [(instant("2025-05-31T18:30:00Z")?, 2), (instant("2025-06-01T18:30:00Z")?, 0)]);

    let question = client.get_workflow_stats().started_after(after()?).started_before(before()?);
    let workflows = question.limit(5).send().await?.into_inner();
    let [workflow] = workflows.as_slice() else { anyhow::bail!("{workflows:?}") };
    ensure!((workflow.workflow_slug.as_str(), workflow.success_rate) == ("daily-call", Some(100.0)));

    let question = client.get_provider_latency().started_after(after()?).started_before(before()?);
    let providers = question.send().await?.into_inner();
    let [provider] = providers.as_slice() else { anyhow::bail!("{providers:?}") };
    ensure!((provider.provider_type, provider.call_count) == (ProviderType::Stt, 1));

    ensure!(client.get_active_calls().send().await?.count == 1);
    ensure!(client.get_readiness().send().await?.status == "ok");
    client.get_summary().period(Period::Last7Days).send().await?;
    Ok(())
}

async fn error_log(client: &Client) -> anyhow::Result<()> {
    let question = client.list_errors().started_after(after()?).started_before(before()?);
    let log = question.service(ErrorService::Stt).level(ErrorLevel::Error).limit(1).send().await?;
    ensure!(log.total == 1);
    let [LoggedErrorItem { timestamp, details, .. }] = log.items.as_slice() else { anyhow::bail!("{log:?}") };
    ensure!(*timestamp == instant("2025-06-01T10:31:00Z")?);
    ensure!(details.as_ref().and_then(|details| details.get("ms")) == Some(&json!(5)));
    Ok(())
}

async fn refusals(client: &Client) -> anyhow::Result<()> {
    let Err(Error::ErrorResponse(invalid)) = client.get_workflow_stats().limit(51).send().await else {
        anyhow::bail!("a limit of 51 is accepted");
    };
    let invalid: Problem = invalid.into_inner();
    ensure!((invalid.status, invalid.code) == (422, ProblemCode::ValidationError));
    ensure!(invalid.errors.first().is_some_and(|error| error.field == "limit"));

    let Err(Error::ErrorResponse(refused)) = connect("cs_live_wrong")?.get_summary().send().await else {
        anyhow::bail!("a wrong key is accepted");
    };
    ensure!((refused.status().as_u16(), refused.code) == (401, ProblemCode::AuthenticationError));
    Ok(())
}
