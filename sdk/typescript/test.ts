// Uses the generated client against a running server. What `same` is told is checked by the compiler.

import assert from 'node:assert/strict';
import * as callscope from 'callscope-client';
import { createClient, createConfig } from 'callscope-client/client';

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

/** Compiles if `A` and `B` are the same type, and not otherwise. */
function same<A, B>(_: Same<A, B>): void {}

same<callscope.Period, '1h' | '24h' | '7d' | '30d' | '90d'>(true);
same<callscope.Interval, 'hour' | 'day' | 'week'>(true);
same<callscope.CallStatus, 'active' | 'completed' | 'failed'>(true);
same<callscope.ProviderType, 'stt' | 'llm' | 'tts'>(true);
same<callscope.ErrorService, 'stt' | 'llm' | 'tts' | 'workflow' | 'tool'>(true);
same<callscope.ErrorLevel, 'error' | 'warning'>(true);
same<callscope.SummaryResponse['total_calls'], number>(true);
same<callscope.SummaryResponse['success_rate'], number | null>(true);
same<callscope.SummaryResponse['avg_stt_latency_ms'], number | null>(true);
same<callscope.CallVolumeBucket['timestamp'], Date>(true);
same<callscope.CallRecord['call_id'], string | null | undefined>(true);
same<callscope.CallState['call_id'], string | null | undefined>(true);
same<callscope.CallRecord['started_at'], Date>(true);
same<callscope.LoggedErrorItem['details'], callscope.ErrorDetails | null>(true);
same<callscope.Problem['errors'], Array<callscope.FieldError> | undefined>(true);

const { CALLSCOPE_URL: baseUrl, CALLSCOPE_KEY: key } = process.env;
assert(baseUrl && key);

const connect = (key: string) =>
  createClient(createConfig({ baseUrl, auth: ({ type }) => (type === 'apiKey' ? key : undefined) }));
const client = connect(key);
const [first, second, third] = ['a', 'b', 'c'].map((end) => `31c02e4f-12e0-4af0-869b-aab222503a0${end}`);
assert(first && second && third);
const window = { started_after: new Date('2025-06-01T00:00:00Z'), started_before: new Date('2025-06-02T00:00:00Z') };

async function writes(): Promise<void> {
  const body: callscope.CallState = {
    status: 'completed',
    started_at: new Date('2025-06-01T10:30:00Z'),
    ended_at: new Date('2025-06-01T10:33:00Z'),
    workflow: { slug: 'daily-call', name: 'Daily Health Check' },
    total_tokens: 1500,
    providers: [{ provider_type: 'stt', provider_name: 'deepgram', latencies_ms: [100, 200, null] }],
    errors: [
      { timestamp: new Date('2025-06-01T10:31:00Z'), service: 'stt', level: 'error', message: 'Timeout', details: { ms: 5 } },
    ],
  };
  const put = await callscope.putCall({ client, path: { call_id: first! }, body, throwOnError: true });
  same<typeof put.data, callscope.PutResult>(true);
  assert.equal(put.response.status, 201);
  assert.deepEqual(put.data, { call_id: first, result: 'created', dropped_samples: 1, ignored_fields: [] });

  const started_at = new Date('2025-06-01T11:00:00Z');
  const batch = await callscope.ingestCalls({
    client,
    body: [
      { call_id: second!, status: 'failed', started_at, ended_at: started_at, end_reason: 'no_answer' },
      { call_id: third!, status: 'active', started_at: new Date() },
      { call_id: third!, status: 'completed', started_at },
    ],
    throwOnError: true,
  });
  same<typeof batch.data, callscope.IngestResult>(true);
  assert.equal(batch.data.accepted, 2);
  assert.deepEqual(batch.data.rejected.map(({ index, call_id, errors }) => [index, call_id, errors[0]?.field]), [[2, third, 'ended_at']]);
}

async function reads(): Promise<void> {
  const { data: summary } = await callscope.getSummary({ client, query: window, throwOnError: true });
  assert.deepEqual(summary, {
    total_calls: 2, completed_calls: 1, failed_calls: 1, active_calls: 1, avg_duration_seconds: 90, success_rate: 50,
    total_tokens: 1500, avg_stt_latency_ms: 150, avg_llm_latency_ms: null, avg_tts_latency_ms: null,
  });
  const { data: volume, response } = await callscope.getCallVolume({
    client, query: { ...window, interval: 'day', timezone: 'Asia/Kolkata' }, throwOnError: true,
  });
  assert.equal(volume.interval, 'day');
  assert.deepEqual(volume.data.map(({ timestamp, total }) => [timestamp, total]), [
    [new Date('2025-05-31T18:30:00Z'), 2], [new Date('2025-06-01T18:30:00Z'), 0],
  ]);
  assert.equal(response.headers.get('X-Answered-Window'), '2025-06-01T00:00:00Z/2025-06-02T00:00:00Z');
  const { data: workflows } = await callscope.getWorkflowStats({ client, query: { ...window, limit: 5 }, throwOnError: true });
  same<typeof workflows, Array<callscope.WorkflowStats>>(true);
  assert.deepEqual(workflows.map((workflow) => [workflow.workflow_slug, workflow.success_rate]), [['daily-call', 100]]);
  const { data: providers } = await callscope.getProviderLatency({ client, query: window, throwOnError: true });
  assert.deepEqual(providers.map(({ provider_type, provider_name, call_count }) => [provider_type, provider_name, call_count]), [['stt', 'deepgram', 1]]);
  const { data: log } = await callscope.listErrors({
    client, query: { ...window, service: 'stt', level: 'error', limit: 1 }, throwOnError: true,
  });
  assert.equal(log.total, 1);
  assert.deepEqual(log.items[0]?.timestamp, new Date('2025-06-01T10:31:00Z'));
  assert.deepEqual(log.items[0]?.details, { ms: 5 });
  const { data: active } = await callscope.getActiveCalls({ client, throwOnError: true });
  assert.deepEqual(active, { count: 1 });
  const { data: health } = await callscope.getReadiness({ client, throwOnError: true });
  assert.equal(health.status, 'ok');
}

async function refusals(): Promise<void> {
  const { error: invalid, data } = await callscope.getWorkflowStats({ client, query: { limit: 51 } });
  assert.equal(data, undefined);
  assert(invalid);
  same<typeof invalid, callscope.Problem>(true);
  assert.deepEqual([invalid.status, invalid.code, invalid.errors?.[0]?.field], [422, 'validation_error', 'limit']);
  const { error: refused, response } = await callscope.getSummary({ client: connect('cs_live_wrong') });
  assert.deepEqual([response.status, refused?.code], [401, 'authentication_error']);
}

await writes();
await reads();
await refusals();
