//! Jobs from the poll to the result, against the fake control plane, the fake cluster and fake Flux.

use fakes::flux::Settings;
use fakes::odoo::{JobRow, ResultRow};
use operator::protocol::job::Outcome;
use serde_json::{Value, json};

use crate::stage::{Stage, files};

const STORES: &str = "/api/v1/namespaces/vworkspace-system/configmaps";

/// The stage of a registered cluster.
pub(crate) async fn connected() -> Stage {
    let stage = Stage::start(Settings::default()).await;
    stage.connect().await;
    for _ in 0..60 {
        if stage.odoo.look(|state| state.clusters.contains_key("c1")) {
            return stage;
        }
        stage.pass(1).await;
    }
    panic!("the operator did not register");
}

impl Stage {
    pub(crate) fn job(&self, id: &str) -> JobRow {
        self.odoo.look(|state| state.jobs[id].clone())
    }

    /// The result of a job, waited for.
    #[track_caller]
    pub(crate) fn result<'a>(&'a self, id: &'a str, within: u64) -> impl Future<Output = ResultRow> + 'a {
        let caller = std::panic::Location::caller();
        async move {
            for _ in 0..=within {
                if let Some(result) = self.job(id).result {
                    return result;
                }
                self.pass(1).await;
            }
            panic!("{caller}: no result of {id} within {within} s: {:?}", self.job(id));
        }
    }

    /// Outcome and error of a job, waited for.
    pub(crate) async fn ended(&self, id: &str, within: u64) -> (Outcome, String) {
        let body = self.result(id, within).await.body;
        (body.outcome, body.error.unwrap_or_default())
    }

    async fn ledger(&self) -> Value {
        let stored = self.get(&format!("{STORES}/vworkspace-applied-jobs")).await;
        let text = stored["data"]["ledger.json"].as_str().unwrap_or("null");
        serde_json::from_str(text).expect("JSON")
    }

    async fn journal(&self) -> usize {
        let (_, list) = self.admin.get(&format!("{STORES}?labelSelector=vworkspace.io/store%3Djob")).await;
        list["items"].as_array().map_or(0, Vec::len)
    }
}

#[tokio::test(start_paused = true)]
async fn f10_an_apply_job_ends_in_one_result_after_readiness_and_its_replay_in_noop() {
    let stage = connected().await;
    let id = stage.odoo.apply("c1", files("6.6.0"));
    let result = stage.result(&id, 120).await;
    assert_eq!((result.body.outcome, &result.body.error), (Outcome::Succeeded, &None));
    let applied = result.body.applied_ref.expect("the object");
    assert_eq!(
        (applied.kind.as_str(), applied.name.as_str(), applied.generation),
        ("ApplicationInstance", "files", Some(1))
    );
    let instance = stage.instance("files").await;
    assert_eq!(instance["metadata"]["labels"]["app.vworkspace.io/cluster-id"], "c1");
    assert_eq!(applied.uid.as_deref(), instance["metadata"]["uid"].as_str());
    let managers: Vec<_> = instance["metadata"]["managedFields"]
        .as_array()
        .expect("fields")
        .iter()
        .map(|entry| entry["manager"].clone())
        .collect();
    assert!(managers.contains(&json!("vworkspace-agent")), "{managers:?}");
    stage.pass(5).await;
    assert_eq!(stage.journal().await, 0);
    assert_eq!(stage.ledger().await["entries"][0]["j"], id.as_str());
    let row = stage.job(&id);
    assert_eq!((row.acks.len(), row.repeats, row.clashes), (1, 0, 0));
    assert!(
        !row.statuses.is_empty() && row.statuses.windows(2).all(|pair| pair[0].body.sequence < pair[1].body.sequence)
    );
    // The same key in a new job: nothing happens.
    let mut again = row.wire;
    again["id"] = json!("again");
    stage.odoo.enqueue_raw("c1", again);
    let replay = stage.result("again", 60).await;
    assert_eq!((replay.body.outcome, replay.body.error), (Outcome::Noop, None));
    assert_eq!(replay.body.applied_ref.and_then(|applied| applied.uid), applied.uid);
}
