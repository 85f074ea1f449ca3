//! What every active namespace has (apiserver.md E8): ServiceAccount `default`, ConfigMap `kube-root-ca.crt`. Created after the
//! namespace, made again when deleted, and the ConfigMap put right when changed.

use serde_json::{Value, json};

use super::super::feed::{Change, Feed, Reading};
use crate::apiserver::{Client, Server, meta};

/// Publishes the ConfigMap.
const PUBLISHER: &str = "kube-controller-manager/root-ca-certificate-publisher";
/// Creates the ServiceAccount.
const ACCOUNTS: &str = "kube-controller-manager/service-account-controller";
/// Stands for the certificates of the cluster; nothing in the simulation verifies them.
const ROOT_CA: &str = "-----BEGIN CERTIFICATE-----\nc2ltdWxhdGVkIGNsdXN0ZXI=\n-----END CERTIFICATE-----\n";
const CONFIG_MAP: &str = "kube-root-ca.crt";
const ACCOUNT: &str = "default";
const NOTE: &str = "kubernetes.io/description";
/// The words of this note are part of the wire.
const NOTE_TEXT: &str = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints \
     such as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of \
     Kubernetes clusters.";

/// Runs both controllers. Never returns.
pub async fn run(server: &Server) {
    tokio::join!(
        keep(server, "configmaps", CONFIG_MAP, 0x6361, server.client(PUBLISHER), publish),
        keep(server, "serviceaccounts", ACCOUNT, 0x7361, server.client(ACCOUNTS), account),
    );
}

/// Ensures one object in each active namespace whenever the namespace or that object changes.
async fn keep(
    server: &Server,
    resource: &str,
    name: &str,
    purpose: u64,
    client: Client,
    ensure: impl AsyncFn(&Client, &str, Option<&Value>),
) {
    let mut feed = Feed::new(server, purpose);
    loop {
        feed.changed().await;
        let (Reading::Everything(changes) | Reading::Changes(changes)) = feed.read();
        let mut namespaces: Vec<String> =
            changes.iter().filter_map(|change| concerned(change, resource, name)).collect();
        namespaces.sort();
        namespaces.dedup();
        for namespace in namespaces {
            let object = {
                let state = server.state();
                let active = |namespace: &Value| namespace["status"]["phase"] == "Active";
                if !state.store.get("namespaces", "", &namespace).is_some_and(|stored| active(&stored.value)) {
                    continue;
                }
                state.store.get(resource, &namespace, name).map(|stored| stored.value.clone())
            };
            ensure(&client, &namespace, object.as_deref()).await;
        }
    }
}

/// The namespace to look at after a change.
fn concerned(change: &Change, resource: &str, name: &str) -> Option<String> {
    let object = change.object()?;
    if &*change.resource == "namespaces" {
        return change.after.is_some().then(|| meta::text(object, "name").to_owned());
    }
    (&*change.resource == resource && meta::text(object, "name") == name)
        .then(|| meta::text(object, "namespace").to_owned())
}

async fn publish(client: &Client, namespace: &str, found: Option<&Value>) {
    let collection = format!("/api/v1/namespaces/{namespace}/configmaps");
    let data = json!({ "ca.crt": ROOT_CA });
    let Some(found) = found else {
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "data": data,
            "metadata": {"name": CONFIG_MAP, "annotations": {NOTE: NOTE_TEXT}}});
        client.post(&collection, &object).await;
        return;
    };
    let noted = found["metadata"]["annotations"][NOTE].as_str().is_some_and(|note| !note.is_empty());
    if found["data"] == data && noted {
        return;
    }
    let mut object = found.clone();
    object["data"] = data;
    object["metadata"]["annotations"][NOTE] = json!(NOTE_TEXT);
    client.put(&format!("{collection}/{CONFIG_MAP}"), &object).await;
}

async fn account(client: &Client, namespace: &str, found: Option<&Value>) {
    if found.is_none() {
        let object = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT}});
        client.post(&format!("/api/v1/namespaces/{namespace}/serviceaccounts"), &object).await;
    }
}
