//! The chapters about the control plane: registration, a job, a week without it, and the other two ways in.

use std::collections::BTreeMap;
use std::time::Duration;

use fakes::odoo::{EventRow, JobRow};
use serde_json::{Value, json};

use super::{Tale, Untrue};
use crate::case::{JobWish, Step, Turn, Until, Wish};
use crate::stories::INSTANCE;
use crate::truth::identity::{accepted, stored};
use crate::truth::view::differs;
use crate::truth::{CLUSTERS, INSTANCES, Truth, condition_status, text, uid};
use crate::world::workload::{self, CLUSTER};

/// How long it may take until everything is as it was (contract §29.58, §29.64: a minute until the first retry, a minute
/// for the rest).
const BACK: u64 = 120;

impl Tale {
    pub(super) async fn registration(&mut self) -> Result<(), Untrue> {
        self.chapter("Odoo issues a registration token, and the cluster joins");
        self.step(Step::Register).await?;
        self.connected().await?;
        let holds = self.world.look(|truth| {
            let token = stored(truth).and_then(|stored| stored.token);
            token.is_some_and(|token| accepted(truth, CLUSTER) == [token])
        });
        self.check("the credential in the cluster is the one that Odoo accepts", holds)?;
        self.same_view(60).await
    }

    async fn connected(&self) -> Result<(), Untrue> {
        let until = Until::Cluster { kind: "Connected".into(), status: "True".into(), reason: String::new() };
        self.wait("the Cluster says Connected=True", 120, |truth| workload::reached(&until, truth)).await
    }

    /// What Odoo last heard of every object is what the cluster says.
    async fn same_view(&self, within: u64) -> Result<(), Untrue> {
        let same = |truth: &Truth| differs(truth, CLUSTER).map_or(Ok(()), Err);
        self.wait("Odoo's view equals the cluster's", within, same).await
    }

    pub(super) async fn job(&mut self) -> Result<(), Untrue> {
        self.chapter("Odoo asks for Nextcloud 6.6.0, as a job");
        self.issue("job-1", INSTANCE, "6.6.0").await?;
        self.answered("job-1", 300).await?;
        self.ready("HelmReleaseReady", "6.6.0").await?;
        let row = self.row("job-1");
        let once = row.as_ref().is_some_and(|row| row.acks.len() == 1 && row.repeats == 0 && row.clashes == 0);
        self.check("it was acknowledged once and got one result", once)?;
        self.same_view(60).await
    }

    async fn issue(&mut self, id: &str, instance: &str, version: &str) -> Result<(), Untrue> {
        let mut payload = workload::instance(&Wish { instance: instance.into(), ..wish(version) });
        // The operator stamps the labels (contract §18.3).
        if let Some(metadata) = payload["metadata"].as_object_mut() {
            metadata.remove("labels");
        }
        let key = format!("applicationinstance/{instance}@1");
        self.step(Step::Job(JobWish { id: id.into(), kind: "apply".into(), payload, key, expires: None })).await
    }

    async fn answered(&self, id: &str, within: u64) -> Result<(), Untrue> {
        let until = Until::Job { id: id.into(), outcome: "succeeded".into(), code: String::new() };
        self.wait(&format!("{id} ends as succeeded"), within, |truth| workload::reached(&until, truth)).await
    }

    fn row(&self, id: &str) -> Option<JobRow> {
        self.world.odoo.look(|state| state.jobs.get(id).cloned())
    }

    pub(super) async fn away(&mut self) -> Result<(), Untrue> {
        self.chapter(&format!("Odoo is gone for {} hours", self.away.as_secs() / 3600));
        let before = self.events();
        self.step(Step::Odoo { turn: Turn::Down }).await?;
        self.wait("the Cluster says Disconnected=True", 600, |truth| {
            let said = truth.get(CLUSTERS, "", "cluster").map_or("", |object| condition_status(object, "Disconnected"));
            if said == "True" { Ok(()) } else { Err(format!("it says {said:?}")) }
        })
        .await?;
        self.mute(true);
        tokio::time::sleep(self.away / 2).await;
        self.mute(false);
        self.step(Step::Upgrade { instance: INSTANCE.into(), version: "8.1.0".into() }).await?;
        self.ready("HelmReleaseUpgraded", "8.1.0").await?;
        self.mute(true);
        tokio::time::sleep(self.away / 2).await;
        self.mute(false);
        self.check("hours later the application is untouched", self.helm() == "8.1.0")?;
        self.back(&before).await
    }

    async fn back(&mut self, before: &BTreeMap<String, EventRow>) -> Result<(), Untrue> {
        self.chapter("Odoo is back, with a job that it wrote meanwhile");
        self.issue("job-2", "org-a/notes", "6.6.0").await?;
        let polls = self.polls();
        self.step(Step::Odoo { turn: Turn::Up }).await?;
        self.same_view(BACK).await?;
        self.answered("job-2", 400).await?;
        let fresh: Vec<EventRow> =
            self.events().into_iter().filter(|(key, _)| !before.contains_key(key)).map(|(_, row)| row).collect();
        let missed = self.missed(&fresh);
        self.check(&format!("{} events of that time arrived, none is missing", fresh.len()), missed.is_none())?;
        let once = fresh.iter().all(|row| row.repeats == 0 && row.clashes == 0);
        self.check("each arrived once", once && in_order(&fresh))?;
        let first = row_at(&self.row("job-2"));
        let upgraded =
            |row: &&EventRow| row.event.conditions.iter().any(|one| text(one, "/reason") == "HelmReleaseUpgraded");
        let told = fresh.iter().filter(upgraded).map(|row| row.at).min();
        let order = told.zip(first).is_some_and(|(told, polled)| told <= polled) && self.polls() > polls;
        self.check("and before the first poll brought the job", order)?;
        self.same_view(60).await
    }

    /// A transition in the status of the instance that no event told.
    fn missed(&self, fresh: &[EventRow]) -> Option<i64> {
        let known = self.events();
        self.world.look(|truth| {
            let instance = truth.get(INSTANCES, "org-a", "files")?;
            let ring = instance.pointer("/status/transitions").and_then(Value::as_array)?;
            let told =
                |seq: i64| known.keys().any(|key| key.contains(uid(instance)) && key.contains(&format!("#{seq}-")));
            let oldest = fresh.iter().map(|row| row.event.timestamp.as_str()).min()?;
            let since = ring.iter().filter(|transition| text(transition, "/time") >= oldest);
            since.filter_map(|transition| transition["seq"].as_i64()).find(|seq| !told(*seq))
        })
    }

    fn events(&self) -> BTreeMap<String, EventRow> {
        self.world.odoo.look(|state| state.clusters.get(CLUSTER).map(|row| row.events.clone())).unwrap_or_default()
    }

    fn polls(&self) -> u64 {
        self.world.odoo.look(|state| state.requests(fakes::odoo::Endpoint::Poll))
    }

    pub(super) async fn push(&mut self) -> Result<(), Untrue> {
        self.chapter("The same by push: Odoo applies the object itself");
        let before = self.said();
        self.step(Step::Mode { mode: "push".into() }).await?;
        tokio::time::sleep(Duration::from_secs(60)).await;
        let polls = self.polls();
        self.step(Step::Instance(wish("8.3.0"))).await?;
        self.ready("HelmReleaseUpgraded", "8.3.0").await?;
        self.same_view(60).await?;
        self.check("the instance says the same as after the job", self.said() == before)?;
        self.check("and nobody polls", self.polls() == polls)
    }

    /// Conditions of the instance without times, and its spec without the version.
    fn said(&self) -> Value {
        self.world.look(|truth| {
            let Some(instance) = truth.get(INSTANCES, "org-a", "files") else { return Value::Null };
            let list = instance.pointer("/status/conditions").and_then(Value::as_array);
            let said = |one: &Value| json!([one["type"], one["status"], one["reason"]]);
            let said: Vec<Value> = list.map(|list| list.iter().map(said).collect()).unwrap_or_default();
            let mut spec = instance["spec"].clone();
            spec["chart"]["version"].take();
            json!([said, spec])
        })
    }
}

fn wish(version: &str) -> Wish {
    Wish {
        instance: INSTANCE.into(),
        version: version.into(),
        source: "oci".into(),
        values: json!({ "replicaCount": 2 }),
    }
}

/// When a job was first delivered.
fn row_at(row: &Option<JobRow>) -> Option<jiff::Timestamp> {
    row.as_ref()?.deliveries.iter().find(|delivery| !delivery.ghost).map(|delivery| delivery.at)
}

/// Whether the transitions of each object arrived in the order of their numbers.
fn in_order(rows: &[EventRow]) -> bool {
    let mut rows: Vec<&EventRow> = rows.iter().collect();
    rows.sort_by_key(|row| row.order);
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    rows.iter().filter_map(|row| row.event.event_key.as_deref()?.strip_prefix("condition/")?.rsplit_once('#')).all(
        |(path, suffix)| {
            let of = path.rsplit('/').nth(2).unwrap_or_default().to_owned();
            let seq = suffix.split('-').next().and_then(|seq| seq.parse().ok()).unwrap_or(0);
            last.insert(of, seq).is_none_or(|before| before < seq)
        },
    )
}
