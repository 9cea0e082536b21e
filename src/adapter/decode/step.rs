//! Steps of workflows.

use super::Refusal;
use super::fields::{Fields, refused, required};
use super::refusal::Problem;
use crate::model::operation::Step;

/// What may become of a step, in either case.
const STATUSES: [&str; 5] = ["PENDING", "RUNNING", "COMPLETED", "FAILED", "SKIPPED"];

/// A step, one event of its life.
pub(super) fn decode(data: Fields<'_>) -> Result<Step, Refusal> {
    let status = data.word("status", 50)?;
    if !STATUSES.iter().any(|known| known.eq_ignore_ascii_case(&status)) {
        let known = Problem::NotOneOf("PENDING, RUNNING, COMPLETED, FAILED, SKIPPED");
        return Err(refused("status", known));
    }
    Ok(Step {
        workflow: required("workflow_id", data.uuid("workflow_id")?)?,
        step_name: data.word("step_name", 100)?,
        step_order: required("step_order", data.small_count("step_order")?)?,
        status,
        execution_time_ms: data.count("execution_time_ms")?,
        step_data: data.extra("step_data")?,
        error_message: data.note("error_message", 2_000)?,
    })
}
