//! The workflows that calls run through: names, agents, how busy and how long each one is.

use crate::draws::{Draws, Weighted};
use crate::profile::WORKFLOWS_MAX;
use crate::record::WorkflowRef;
use crate::words::Direction;

/// A workflow with a name of its own.
struct Named {
    slug: &'static str,
    name: &'static str,
    agents: &'static [&'static str],
    typical_s: f64,
    weight: f64,
    direction: Direction,
    tool_rate: f64,
}

const NAMED: [Named; 8] = [
    Named {
        slug: "daily-call",
        name: "Daily Health Check",
        agents: &["greeter-agent", "meal-agent", "medication-agent"],
        typical_s: 150.0,
        weight: 30.0,
        direction: Direction::Outbound,
        tool_rate: 0.10,
    },
    Named {
        slug: "appointment-reminder",
        name: "Appointment Reminder",
        agents: &["reminder-agent"],
        typical_s: 70.0,
        weight: 22.0,
        direction: Direction::Outbound,
        tool_rate: 0.12,
    },
    Named {
        slug: "order-status",
        name: "Order Status",
        agents: &["order-agent"],
        typical_s: 95.0,
        weight: 14.0,
        direction: Direction::Inbound,
        tool_rate: 0.25,
    },
    Named {
        slug: "onboarding",
        name: "Customer Onboarding",
        agents: &["greeter-agent", "profile-agent"],
        typical_s: 260.0,
        weight: 10.0,
        direction: Direction::Web,
        tool_rate: 0.15,
    },
    Named {
        slug: "tech-support",
        name: "Technical Support",
        agents: &["triage-agent", "support-agent"],
        typical_s: 290.0,
        weight: 9.0,
        direction: Direction::Inbound,
        tool_rate: 0.22,
    },
    Named {
        slug: "billing-inquiry",
        name: "Billing Inquiry",
        agents: &["billing-agent"],
        typical_s: 200.0,
        weight: 6.0,
        direction: Direction::Inbound,
        tool_rate: 0.20,
    },
    Named {
        slug: "lead-qualification",
        name: "Lead Qualification",
        agents: &["sales-agent", "scheduling-agent"],
        typical_s: 170.0,
        weight: 5.0,
        direction: Direction::Outbound,
        tool_rate: 0.08,
    },
    Named {
        slug: "satisfaction-survey",
        name: "Satisfaction Survey",
        agents: &["survey-agent"],
        typical_s: 110.0,
        weight: 4.0,
        direction: Direction::Outbound,
        tool_rate: 0.02,
    },
];

/// A workflow without a name of its own has this weight over its rank, so the list has a long tail.
const UNNAMED_WEIGHT: f64 = 27.0;

/// What calls of one workflow have in common.
#[derive(Clone, Debug)]
pub(crate) struct Workflow {
    /// `None` for calls that belong to no workflow.
    pub(crate) reference: Option<WorkflowRef>,
    /// The agents a call passes through, the one that takes it first; never empty.
    pub(crate) agents: &'static [&'static str],
    /// The median length of an answered call, in seconds.
    pub(crate) typical_s: f64,
    /// Which way most of the calls go.
    pub(crate) direction: Direction,
    /// The mean number of tool calls of a turn.
    pub(crate) tool_rate: f64,
}

/// All workflows of a profile.
#[derive(Clone, Debug)]
pub(crate) struct Workflows {
    workflows: Weighted<Workflow>,
    none: Workflow,
}

impl Workflows {
    /// The `count` busiest, at least one and at most [`WORKFLOWS_MAX`].
    pub(crate) fn new(count: usize) -> Self {
        let named = NAMED.iter().map(named_workflow);
        let unnamed = (NAMED.len() + 1..=WORKFLOWS_MAX).map(unnamed_workflow);
        Self {
            workflows: Weighted::new(named.chain(unnamed).take(count.clamp(1, WORKFLOWS_MAX))),
            none: Workflow {
                reference: None,
                agents: &["default-agent"],
                typical_s: 90.0,
                direction: Direction::Inbound,
                tool_rate: 0.1,
            },
        }
    }

    /// The workflow of the next call: none with the probability given.
    pub(crate) fn pick(&self, draws: &mut Draws, none_rate: f64) -> &Workflow {
        if draws.chance(none_rate) { &self.none } else { self.workflows.pick(draws) }
    }
}

fn named_workflow(named: &Named) -> (Workflow, f64) {
    let workflow = Workflow {
        reference: Some(reference(named.slug.to_owned(), named.name.to_owned())),
        agents: named.agents,
        typical_s: named.typical_s,
        direction: named.direction,
        tool_rate: named.tool_rate,
    };
    (workflow, named.weight)
}

fn unnamed_workflow(rank: usize) -> (Workflow, f64) {
    let workflow = Workflow {
        reference: Some(reference(format!("workflow-{rank:03}"), format!("Workflow {rank:03}"))),
        agents: &["greeter-agent", "task-agent"],
        // Between 80 and 240 s, different for neighbours: 37 has no common factor with 160.
        typical_s: (80 + rank * 37 % 160) as f64,
        direction: Direction::Inbound,
        tool_rate: 0.12,
    };
    (workflow, UNNAMED_WEIGHT / rank as f64)
}

fn reference(slug: String, name: String) -> WorkflowRef {
    WorkflowRef { slug, name: Some(name), id: None }
}
