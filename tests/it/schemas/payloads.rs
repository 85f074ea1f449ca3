//! Everything the operator sends is valid under the projects' own CRDs, and below the floor it says so instead.
//!
//! The operator runs in the simulator on a server with the CRDs of one set: a field that the schema does not know, or a
//! value that it refuses, would keep the instance from becoming Ready.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fakes::history::{Event, Phase, Record};
use fakes::kinds::{Dials, FluxRelease, name_of};
use serde_json::{Value, json};
use sim::case::{Case, Step, Until, Wish};
use sim::simulation::{on_fresh_thread, runtime};
use sim::truth::{INSTANCES, condition_reason, condition_status, is_operator};
use sim::world::{Plan, World, instance_path};

use super::{known_sets, upstream, upstream_directory};

const INSTANCE: &str = "org-a/files";

/// Plays `story` on a cluster with these definitions; returns how many commits the operator made on Flux's kinds.
fn play(release: FluxRelease, definitions: Vec<Value>, story: impl AsyncFnOnce(&mut World) + Send + 'static) -> usize {
    let outcome = on_fresh_thread(1, move || {
        runtime().block_on(async move {
            let writes = Arc::new(Mutex::new(0));
            let count = writes.clone();
            let reader = move |record: &Record| {
                if let Event::Commit(commit) = &record.event
                    && is_operator(&commit.actor)
                    && commit.resource.ends_with("fluxcd.io")
                {
                    *count.lock().expect("no test panics inside") += 1;
                }
            };
            let mut case = Case::new("payloads", Vec::new());
            case.dials = Dials { flux: Some(release), ..Dials::default() };
            let plan = Plan { definitions, reader: Some(Box::new(reader)), ..Plan::of(&case) };
            let mut world = World::build(plan).await.expect("the definitions are accepted");
            world.enter(Phase::Faults);
            world.start_operator();
            story(&mut world).await;
            world.end().await;
            *writes.lock().expect("no test panics inside")
        })
    });
    outcome.unwrap_or_else(|panic| panic!("{panic}"))
}

async fn step(world: &mut World, step: Step) {
    world.carry_out(&step).await.unwrap_or_else(|why| panic!("{step:?}: {why}"));
}

async fn create(world: &mut World, source: &str) {
    step(world, Step::Namespace { name: "org-a".into(), gated: true }).await;
    let values = json!({"replicaCount": 2, "nested": {"list": [1, 2]}});
    let wish = Wish { instance: INSTANCE.into(), version: "6.6.0".into(), source: source.into(), values };
    step(world, Step::Instance(wish)).await;
}

/// Install, upgrade and deletion: every object that the operator ever sends to Flux.
async fn life(world: &mut World, source: &str) {
    let wait = |until| Step::Wait { until, within: 300 };
    create(world, source).await;
    step(world, wait(Until::Ready { instance: INSTANCE.into() })).await;
    step(world, Step::Upgrade { instance: INSTANCE.into(), version: "7.0.0".into() }).await;
    step(world, wait(Until::Ready { instance: INSTANCE.into() })).await;
    step(world, Step::Delete { path: instance_path(INSTANCE) }).await;
    step(world, wait(Until::Gone { instance: INSTANCE.into() })).await;
}

/// The operator names what is missing and creates nothing.
async fn refusal(world: &mut World) {
    create(world, "oci").await;
    tokio::time::sleep(Duration::from_secs(120)).await;
    let (status, reason) = world.look(|truth| {
        let instance = truth.get(INSTANCES, "org-a", "files").expect("the instance is there");
        (condition_status(instance, "Blocked").to_owned(), condition_reason(instance, "Blocked").to_owned())
    });
    assert_eq!((status.as_str(), reason.as_str()), ("True", "MissingDependencies"));
}

#[test]
fn what_the_operator_sends_is_valid_under_upstream_schemas() {
    let Some(root) = upstream_directory("what_the_operator_sends_is_valid_under_upstream_schemas") else { return };
    for (set, release) in known_sets() {
        let directory = root.join(set);
        if !directory.is_dir() {
            continue;
        }
        let crds: Vec<Value> =
            upstream(&directory).into_values().filter(|manifest| name_of(manifest).ends_with("fluxcd.io")).collect();
        if release < FluxRelease::V2_3 {
            let writes = play(release, crds, async |world| refusal(world).await);
            assert_eq!(writes, 0, "nothing is sent to a Flux below the floor");
            println!("schemas: {set} is below the floor, and the operator says so");
            continue;
        }
        for source in ["oci", "helm"] {
            let writes = play(release, crds.clone(), async move |world| life(world, source).await);
            println!("schemas: {writes} writes of the operator ({source}) accepted under {set}");
            assert!(writes >= 4);
        }
    }
}

#[test]
fn what_the_operator_sends_is_valid_under_the_compact_schemas_of_each_release() {
    for release in FluxRelease::ALL {
        let definitions = fakes::kinds::crds(&Dials { flux: Some(release), ..Dials::default() });
        if release < FluxRelease::V2_3 {
            assert_eq!(play(release, definitions, async |world| refusal(world).await), 0);
            continue;
        }
        for source in ["oci", "helm"] {
            play(release, definitions.clone(), async move |world| life(world, source).await);
        }
    }
}
