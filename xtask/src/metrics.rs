//! The checked-in list of metrics and dimensions, made of the tables that the server computes with.

use anyhow::bail;
use callscope_domain::{Dimension, Formula, Metric, MetricRow, ValuesMax};
use std::fmt::Write;

const FILE: &str = "docs/metrics.md";

const HEAD: &str = "# Metrics and dimensions

Made by `cargo xtask metrics` from the tables that the server computes with. `GET /api/v1/analytics/metrics` gives the same
to programs; `POST /api/v1/analytics/query` takes any of them.

## How figures come about

Each call adds whole numbers, its measures, to sums by bucket and group. A metric is a formula over such sums, computed once, at
the end, over everything that the question is about.

- **Percentiles are over all values of the window**, never over percentiles of parts: a percentile of percentiles, or an average
  of them, is a number that no caller met. Latencies are counted in cells 1 % wide, so a percentile is within 0.5 % of the true
  one, and never outside the values that were seen. It is the nearest rank: the smallest value that so many percent do not exceed.
- **Averages are over all values**, not over the averages of calls.
- **What no call tells is null, not 0**: cost, turns and tokens that no record gives are unknown. `coverage` in an answer says
  how many calls or latencies a figure rests on.
- **What does not add up**: a call may use several providers and models and have several errors, and counts once in each of
  those groups. Their counts can be more than the total; `additive` in an answer is then false, and `totals` counts each call once.
- A group `(other)` holds the values past the bound of their dimension; `has_other` says that there is one.
";

/// Writes the list, or checks that it is written.
pub fn run(check: bool) -> anyhow::Result<()> {
    let document = document()?;
    if !check {
        std::fs::write(FILE, document)?;
        println!("wrote {FILE}");
        return Ok(());
    }
    if std::fs::read_to_string(FILE).unwrap_or_default() != document {
        bail!("{FILE} is not what the tables say: run `cargo xtask metrics`");
    }
    println!("{FILE} is up to date");
    Ok(())
}

fn document() -> anyhow::Result<String> {
    let mut text = HEAD.to_owned();
    writeln!(text, "\n## Metrics\n\nA formula names measures, the sums that it is computed from.\n")?;
    writeln!(text, "| metric | unit | what it is | formula |\n| --- | --- | --- | --- |")?;
    for metric in Metric::ALL {
        let row = metric.row();
        writeln!(text, "| `{metric}` | {} | {} | {} |", row.unit, row.description, formula(&row))?;
    }
    writeln!(
        text,
        "\n## Dimensions\n\nBeside them, `tag.KEY` for each tag, and `hour_of_week` (0 is Monday 0:00 in the zone).\n"
    )?;
    writeln!(text, "| dimension | what it is | groups | sums from | bound |\n| --- | --- | --- | --- | --- |")?;
    for dimension in Dimension::ALL.iter().filter(|dimension| **dimension != Dimension::Tenant) {
        let row = dimension.row();
        let bound = match row.values_max {
            ValuesMax::Setting(name) => format!("`tenant.{name}`"),
            ValuesMax::Vocabulary => "its words".to_owned(),
        };
        let subject = dimension.subject();
        writeln!(text, "| `{dimension}` | {} | {subject} | {} | {bound} |", row.description, row.finest)?;
    }
    Ok(text)
}

fn formula(row: &MetricRow) -> String {
    match row.formula {
        Formula::Sum(sum) => format!("`{sum}`"),
        Formula::Known(sum, base, 1) => format!("`{sum}`, null when `{base}` is 0"),
        Formula::Known(sum, base, divisor) => format!("`{sum}` / {divisor}, null when `{base}` is 0"),
        Formula::Difference(whole, part) => format!("`{whole}` - `{part}`"),
        Formula::Mean(sum, count, 1) => format!("`{sum}` / `{count}`"),
        Formula::Mean(sum, count, divisor) => format!("`{sum}` / `{count}` / {divisor}"),
        Formula::Rate(sum, count, factor) => format!("`{sum}` / `{count}` × {factor}"),
        Formula::Percentage(part, rest) => format!("100 × `{part}` / (`{part}` + `{rest}`)"),
        Formula::Percentile(distribution, percent) => format!("{percent} % of the distribution `{distribution}`"),
        Formula::ActiveCalls => "counted among the calls".to_owned(),
    }
}
