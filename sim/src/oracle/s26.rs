//! S26: once a job has its accepted result, nothing else is posted for it, by no incarnation.
//!
//! The same result may be posted again: its acknowledgement may have been lost, or the job was delivered once more
//! (contract §18.5); a job that is delivered again may be acknowledged again, which is how the control plane says that it
//! knows the result. A control plane that was restored to an earlier state, and so lost the result, is told again.

use fakes::history::{Event, Record};

use super::Oracle;
use crate::truth::{Truth, is_operator};

/// S26.
#[derive(Default)]
pub(super) struct NothingAfterTheResult;

impl Oracle for NothingAfterTheResult {
    fn id(&self) -> &'static str {
        "S26"
    }

    fn promise(&self) -> &'static str {
        "after its accepted result nothing but the same text is posted for a job"
    }

    fn step(&mut self, record: &Record, truth: &Truth) -> Result<(), String> {
        let Event::Request { call, body, .. } = &record.event else { return Ok(()) };
        if !matches!(call.verb, "ack" | "status" | "result") || !is_operator(&record.actor) {
            return Ok(());
        }
        let accepted = truth.odoo(|state| state.jobs.get(&call.name)?.result.as_ref().map(|row| row.bytes.clone()));
        let again =
            truth.books.jobs.get(&call.name).is_some_and(|job| job.closed.is_some_and(|at| at <= job.delivered));
        match accepted.flatten() {
            Some(_) if call.verb == "ack" && again => Ok(()),
            Some(accepted) if call.verb != "result" || accepted != *body => {
                Err(format!("{} of job {} was sent after its accepted result", call.verb, call.name))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use fakes::odoo::{Odoo, ResultRow};
    use serde_json::{Value, json};

    use super::super::story::{CLUSTER, OPERATOR, Story, job, result};
    use super::*;

    fn closed(odoo: &Odoo) {
        odoo.enqueue_raw(CLUSTER, job("j1", "k@1"));
        let (at, text) = (odoo.now(), result("succeeded", "u-1", 1).to_string());
        let body = serde_json::from_str(&text).expect("a result");
        odoo.with(|state| {
            state.jobs.get_mut("j1").expect("issued").result = Some(ResultRow { at, bytes: text.into(), body });
        });
    }

    fn told() -> Story<NothingAfterTheResult> {
        Story::new().odoo(closed)
    }

    #[test]
    fn a_status_after_the_result_is_seen() {
        told().sent(OPERATOR, "status j1", &json!({ "phase": "Ready" })).breaks("status of job j1");
    }

    #[test]
    fn an_acknowledgement_or_another_text_after_the_result_is_seen() {
        told().sent("operator-0.2", "ack j1", &Value::Null).breaks("ack of job j1");
        told().sent("operator-0.2", "result j1", &json!({ "outcome": "noop" })).breaks("result of job j1");
    }

    #[test]
    fn the_same_text_again_holds_and_so_does_another_job() {
        told()
            .sent(OPERATOR, "result j1", &result("succeeded", "u-1", 1))
            .sent(OPERATOR, "status j2", &json!({ "phase": "Ready" }))
            .holds();
    }

    #[test]
    fn a_job_that_is_delivered_again_may_be_acknowledged_again() {
        let posted = result("succeeded", "u-1", 1);
        let told = || {
            let polled = Story::<NothingAfterTheResult>::new().polled(&json!([job("j1", "k@1")])).later(1);
            polled.call(OPERATOR, "result j1", &posted, 204, &Value::Null)
        };
        told().odoo(closed).later(1).polled(&json!([job("j1", "k@1")])).sent(OPERATOR, "ack j1", &Value::Null).holds();
        told().odoo(closed).later(1).sent(OPERATOR, "ack j1", &Value::Null).breaks("ack of job j1");
    }
}
