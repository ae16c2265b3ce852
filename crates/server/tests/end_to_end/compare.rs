//! Puts what a server answers beside what it should answer.

use crate::client::Client;
use crate::figures::{self, Interval};
use crate::windows::Window;
use crate::world::{World, micros};
use chrono_tz::Tz;
use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::Value;

/// Half of the last decimal that is shown, and a little for sums of floating-point numbers.
const ROUNDING: f64 = 0.0501;
/// The promised bound of a percentile's relative error.
const PERCENTILE_ERROR: f64 = 0.005;

const ZONES: [Tz; 5] = [Tz::UTC, Tz::Europe__Berlin, Tz::America__New_York, Tz::Asia__Kolkata, Tz::Asia__Kathmandu];
/// Over all windows, every zone has its turn with every interval.
const ZONES_A_WINDOW: usize = 2;
const SERVICES: [&str; 5] = ["stt", "llm", "tts", "workflow", "tool"];
const LEVELS: [&str; 2] = ["error", "warning"];

/// One tenant of one server, and what it should know.
pub struct Comparison<'a> {
    pub client: &'a Client,
    pub world: &'a World,
    pub tenant_id: &'a str,
    /// Workflows to filter by.
    pub slugs: &'a [&'a str],
}

impl Comparison<'_> {
    /// Compares every answer about a window.
    pub fn check(&self, random: &mut StdRng, window: &Window) {
        self.check_summaries(random, window);
        self.check_workflows(random, window);
        self.check_providers(window);
        self.check_errors(random, window);
        self.check_series(random, window);
    }

    pub fn check_summaries(&self, random: &mut StdRng, window: &Window) {
        let Self { client, world, .. } = self;
        let query = &window.query;
        assert_alike(client, &format!("summary?{query}"), &figures::summary(world, window, None));
        let slug = *self.slugs.choose(random).unwrap();
        assert_alike(client, &format!("summary?{query}&workflow={slug}"), &figures::summary(world, window, Some(slug)));
        assert_alike(client, "active-calls", &figures::active_calls(world));
    }

    pub fn check_workflows(&self, random: &mut StdRng, window: &Window) {
        let query = &window.query;
        let limit = random.random_range(1..=12);
        for (question, limit) in
            [(format!("workflow-stats?{query}"), 10), (format!("workflow-stats?{query}&limit={limit}"), limit)]
        {
            let expected = figures::workflow_stats(self.world, window, self.tenant_id, limit);
            assert_alike(self.client, &question, &expected);
        }
    }

    pub fn check_providers(&self, window: &Window) {
        let question = format!("provider-latency?{}", window.query);
        assert_alike(self.client, &question, &figures::provider_latency(self.world, window));
    }

    pub fn check_errors(&self, random: &mut StdRng, window: &Window) {
        let Self { client, world, .. } = self;
        let question = format!("errors?{}", window.query);
        let all = figures::errors(world, window, (None, None), (0, 50));
        assert_alike(client, &question, &all);
        for _ in 0..3 {
            let service = random.random_bool(0.6).then(|| *SERVICES.choose(random).unwrap());
            let level = random.random_bool(0.5).then(|| *LEVELS.choose(random).unwrap());
            let matching = figures::errors(world, window, (service, level), (0, 0));
            // Up to a few past the last.
            let offset = random.random_range(0..=usize::try_from(matching["total"].as_u64().unwrap()).unwrap() + 2);
            let limit = random.random_range(1..=200);
            let by_service = service.map_or_else(String::new, |service| format!("&service={service}"));
            let by_level = level.map_or_else(String::new, |level| format!("&level={level}"));
            let question = format!("{question}&offset={offset}&limit={limit}{by_service}{by_level}");
            assert_alike(client, &question, &figures::errors(world, window, (service, level), (offset, limit)));
        }
    }

    pub fn check_series(&self, random: &mut StdRng, window: &Window) {
        for interval in Interval::ALL {
            let zones: Vec<Tz> = ZONES.sample(random, ZONES_A_WINDOW).copied().collect();
            for zone in zones {
                let workflow = random.random_bool(0.3).then(|| *self.slugs.choose(random).unwrap());
                let filter = workflow.map_or_else(String::new, |slug| format!("&workflow={slug}"));
                let (query, word) = (&window.query, interval.word());
                let question = format!("call-volume?{query}&interval={word}&timezone={zone}{filter}");
                let expected = figures::call_volume(self.world, window, interval, zone, workflow);
                assert_alike(self.client, &question, &expected);
            }
        }
    }
}

/// Fails where an answer differs from what was worked out: counts and words exactly, averages as far as one decimal
/// goes, percentiles within their bound.
pub fn assert_alike(client: &Client, question: &str, expected: &Value) {
    let actual = client.ask(question);
    if let Err(difference) = compare("", &actual, expected) {
        panic!("{question}{difference}");
    }
}

/// The path of the first difference, and what differs.
fn compare(field: &str, actual: &Value, expected: &Value) -> Result<(), String> {
    let differs = || Err(format!(": the answer is {actual}, but should be {expected}"));
    match (actual, expected) {
        (Value::Object(ours), Value::Object(theirs)) => {
            if field != "details" && !ours.keys().eq(theirs.keys()) {
                return differs();
            }
            if field == "details" {
                return if ours == theirs { Ok(()) } else { differs() };
            }
            let mut pairs = theirs.iter().map(|(name, value)| (name.as_str(), &ours[name], value));
            pairs.try_for_each(|(name, ours, theirs)| {
                compare(name, ours, theirs).map_err(|difference| format!(".{name}{difference}"))
            })
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            if ours.len() != theirs.len() {
                return Err(format!(": {} entries, but should be {}", ours.len(), theirs.len()));
            }
            let mut pairs = ours.iter().zip(theirs).enumerate();
            pairs.try_for_each(|(index, (ours, theirs))| {
                compare(field, ours, theirs).map_err(|difference| format!("[{index}]{difference}"))
            })
        }
        (Value::Number(ours), Value::Number(theirs)) if theirs.is_f64() => {
            let (ours, theirs) = (ours.as_f64().unwrap(), theirs.as_f64().unwrap());
            let bound = if field.starts_with('p') { ROUNDING + PERCENTILE_ERROR * theirs } else { ROUNDING };
            if (ours - theirs).abs() <= bound { Ok(()) } else { differs() }
        }
        (Value::String(_), Value::String(_)) if field == "timestamp" && micros(actual) == micros(expected) => Ok(()),
        _ if actual == expected => Ok(()),
        _ => differs(),
    }
}
