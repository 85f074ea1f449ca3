//! What watches survive: a server that was restored from an older backup.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{Stream, StreamExt};
use operator::cluster_api::kube::KubeCluster;
use operator::cluster_api::{Change, ClusterApi, Detail, Kind, Scope};
use operator::transport::{HttpService, RequestBody};
use serde_json::json;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Service};

use crate::cluster::{self, Cluster};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn config_map(cluster: &Cluster, name: &str) {
    let object =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": {"seen": "yes"}}});
    cluster.create(MAPS, &object).await;
}

fn watch(service: HttpService, detail: Detail) -> impl Stream<Item = Change> + Unpin {
    let api = KubeCluster::new(service, &cluster::config()).expect("a plain connection");
    let kind = Kind::namespaced("", "v1", "ConfigMap", "configmaps");
    api.watch(&kind, &Scope::namespace("default").labelled("seen=yes"), detail)
}

/// The names of the next complete list.
async fn listed(changes: &mut (impl Stream<Item = Change> + Unpin)) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        match changes.next().await.expect("never ends") {
            Change::Reset => names.clear(),
            Change::Listed(object) => names.push(object.name().to_string()),
            Change::Synced => return names,
            Change::Interrupted(_) => {}
            other => panic!("not part of a list: {other:?}"),
        }
    }
}

/// Which server answers; `None` while none does.
type Endpoint = Arc<Mutex<Option<HttpService>>>;

fn behind(endpoint: Endpoint) -> HttpService {
    BoxCloneSyncService::new(tower::service_fn(move |request: http::Request<RequestBody>| {
        let inner = endpoint.lock().expect("lock").clone();
        async move {
            match inner {
                Some(mut inner) => inner.call(request).await,
                None => Err(BoxError::from("connection refused")),
            }
        }
    }))
}

#[tokio::test(start_paused = true)]
async fn after_a_restore_from_an_older_backup_the_watch_sees_what_the_restore_changed() {
    let (old, restored) = (Cluster::start().await, Cluster::start().await);
    config_map(&restored, "came-back").await;
    let endpoint: Endpoint = Arc::new(Mutex::new(Some(old.service("one"))));
    let mut changes = watch(behind(Arc::clone(&endpoint)), Detail::Metadata);
    assert_eq!(listed(&mut changes).await, Vec::<String>::new());
    for number in 0..50 {
        let name = format!("lost-{number}");
        config_map(&old, &name).await;
        let change = changes.next().await.expect("never ends");
        assert!(matches!(&change, Change::Applied(object) if object.name() == name), "{change:?}");
    }
    // The watch ends, and nobody answers the next one; then the restored server does, far behind the watch's place.
    *endpoint.lock().expect("lock") = None;
    let restore = async {
        tokio::time::sleep(Duration::from_secs(90)).await;
        *endpoint.lock().expect("lock") = Some(restored.service("one"));
        tokio::time::sleep(Duration::from_secs(30)).await;
        panic!("blind for 30 s after the restore");
    };
    let names = tokio::select! {
        biased;
        names = listed(&mut changes) => names,
        () = restore => unreachable!("it panics"),
    };
    assert_eq!(names, ["came-back"]);
    config_map(&restored, "new").await;
    let change = changes.next().await.expect("never ends");
    assert!(matches!(&change, Change::Applied(object) if object.name() == "new"), "{change:?}");
}
