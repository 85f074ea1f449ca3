//! Other people's hands, as far as a switch needs them: they act on the cluster as their own actors, or on Helm directly.

use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};

use super::catalogue::Chart;
use super::helm::ReleaseName;
use super::world::{Controller, World};
use crate::apiserver::Server;
use crate::script::{Switch, Target};

/// Runs for ever beside the controllers. H10 and S6 (`flux suspend`), H13 (`kubectl edit`), H14 (a pass out of turn), H16
/// (objects changed), S1 (a restart) and S2 (a tag pushed again) act as soon as they are armed for a named object; a
/// namespace that goes takes its releases along.
pub async fn run_surroundings(server: Server, world: World) {
    let mut changes = world.subscribe();
    changes.mark_changed();
    let namespaces = follow_namespaces(&server, &world);
    let hands = async {
        while changes.changed().await.is_ok() {
            while act(&server, &world).await {}
        }
    };
    tokio::join!(namespaces, hands);
}

async fn follow_namespaces(server: &Server, world: &World) {
    let client = server.client("helm");
    loop {
        let mut events = Box::pin(client.watch("/api/v1/namespaces"));
        while let Some((what, object)) = events.next().await {
            if what == "DELETED"
                && let Some(name) = object["metadata"]["name"].as_str()
            {
                world.peek(|state| state.storage.forget_namespace(name));
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Does one thing that is armed. `false`: nothing was.
async fn act(server: &Server, world: &World) -> bool {
    let mut acted = false;
    for switch in [Switch::H10, Switch::H13, Switch::H14, Switch::H16, Switch::S1, Switch::S2, Switch::S6] {
        let due = world.peek(|state| state.script.take_addressed(switch));
        for (target, order) in due {
            acted = true;
            match switch {
                Switch::H10 | Switch::S6 => {
                    patch(server, "flux", world, &target, &json!({"spec": {"suspend": true}})).await;
                }
                Switch::H13 => {
                    let name = order.text.unwrap_or_else(|| format!("{}-moved", target.name));
                    patch(server, "kubectl-edit", world, &target, &json!({"spec": {"releaseName": name}})).await;
                }
                Switch::H14 => world.with(|state| state.kicks.push_back(target)),
                Switch::H16 => drift(server, world, target).await,
                Switch::S1 => world.restart(Controller::Source),
                _ => push_again(server, world, &target).await,
            }
            if order.times.is_none() {
                // These happen once; an order without a number would never end.
                world.peek(|state| state.script.disarm(switch));
            }
        }
    }
    acted
}

fn path(world: &World, target: &Target) -> String {
    let (group, version, plural) = match target.kind.as_str() {
        "HelmRelease" => ("helm.toolkit.fluxcd.io", "v2", "helmreleases"),
        "OCIRepository" => {
            ("source.toolkit.fluxcd.io", world.settings().release.oci_repository_version(), "ocirepositories")
        }
        "HelmRepository" => ("source.toolkit.fluxcd.io", "v1", "helmrepositories"),
        _ => ("source.toolkit.fluxcd.io", "v1", "helmcharts"),
    };
    format!("/apis/{group}/{version}/namespaces/{}/{plural}/{}", target.namespace, target.name)
}

async fn patch(server: &Server, actor: &str, world: &World, target: &Target, body: &Value) {
    let path = format!("{}?fieldManager={actor}", path(world, target));
    // An object that is not there cannot be touched; the hand that reached for it does not care.
    let _ = server.client(actor).merge_patch(&path, body).await;
}

/// Changes the release's objects and lets the controller look.
async fn drift(server: &Server, world: &World, target: Target) {
    let (code, object) = server.client("kubectl-edit").get(&path(world, &target)).await;
    if code != 200 {
        return;
    }
    let spec = &object["spec"];
    let storage = spec["storageNamespace"].as_str().unwrap_or(&target.namespace);
    let name = spec["releaseName"].as_str().unwrap_or(&target.name);
    let release = ReleaseName::new(storage, name);
    world.with(|state| {
        state.storage.drift(&release);
        state.kicks.push_back(target);
    });
}

/// Other content under the tag that the source names.
async fn push_again(server: &Server, world: &World, target: &Target) {
    let (code, object) = server.client("helm").get(&path(world, target)).await;
    let (Some(url), Some(tag)) = (object["spec"]["url"].as_str(), object["spec"]["ref"]["tag"].as_str()) else {
        return;
    };
    if code != 200 {
        return;
    }
    world.with(|state| {
        if let Ok(old) = state.catalogue.tag(url, tag) {
            let content = format!("{} pushed again", old.content);
            state.catalogue.publish_chart(url, Chart::new(&old.name, &old.version, &content));
        }
    });
}
