//! CustomResourceDefinitions: which resources they serve, and their establishing.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::errors::qualified;
use super::resource::{ALL_VERBS, Custom, Generation, Resource};
use super::schema::Schema;
use super::server::{Server, State};
use super::store::Event;

/// Serves what an established definition defines, after each change of one.
pub fn serve(state: &mut State, event: &Event) {
    let Some(stored) = event.after.as_ref().or(event.before.as_ref()) else { return };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let spec = &stored.value["spec"];
    let (group, plural) = (text(&spec["group"]), text(&spec["names"]["plural"]));
    state.resources.remove(&group, &plural);
    if event.after.is_none() || !established(&stored.value) {
        return;
    }
    let versions = spec["versions"].as_array().cloned().unwrap_or_default();
    let storage = versions
        .iter()
        .find(|version| version["storage"] == json!(true))
        .map(|version| text(&version["name"]))
        .unwrap_or_default();
    for version in versions.iter().filter(|version| version["served"] == json!(true)) {
        let kind = text(&spec["names"]["kind"]);
        let list_kind = Some(text(&spec["names"]["listKind"]))
            .filter(|kind| !kind.is_empty())
            .unwrap_or_else(|| format!("{kind}List"));
        state.resources.insert(Resource {
            list_kind,
            singular: text(&spec["names"]["singular"]),
            id: qualified(&plural, &group).into(),
            namespaced: spec["scope"] == json!("Namespaced"),
            status: version["subresources"].get("status").is_some(),
            allow_unconditional_update: false,
            generation: Generation::AllButMetadata,
            verbs: ALL_VERBS,
            custom: Some(Custom {
                storage_version: storage.clone(),
                columns: version["additionalPrinterColumns"].as_array().cloned().unwrap_or_default(),
                schema_revision: event.revision,
                deprecation: None,
                terminating: false,
            }),
            compiled: Arc::new(Schema::trusted(&version["schema"]["openAPIV3Schema"])).into(),
            ..Resource::builtin(&group, &text(&version["name"]), &kind, &plural, &[])
        });
    }
}

fn established(crd: &Value) -> bool {
    crd["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == json!("Established") && condition["status"] == json!("True"))
}

/// Establishes new definitions.
pub async fn run(server: &Server) {
    let mut revision = 0;
    loop {
        revision = server.changed_since(revision).await;
        tokio::time::sleep(Duration::from_millis(38)).await;
        let mut state = server.state();
        let now = server.config().clock.now();
        let id = "customresourcedefinitions.apiextensions.k8s.io".into();
        let fresh: Vec<_> = state
            .store
            .table(&id)
            .objects
            .iter()
            .filter(|(_, stored)| !established(&stored.value))
            .map(|(key, stored)| (key.clone(), stored.value.clone()))
            .collect();
        for (key, value) in fresh {
            let mut value = (*value).clone();
            let at = super::rest::second(now);
            let condition = |kind: &str, reason: &str, message: &str| json!({ "type": kind, "status": "True", "lastTransitionTime": at, "reason": reason, "message": message });
            value["status"] = json!({
                "conditions": [condition("NamesAccepted", "NoConflicts", "no conflicts found"), condition("Established", "InitialNamesAccepted", "the initial names have been accepted")],
                "acceptedNames": value["spec"]["names"],
                "storedVersions": [],
            });
            state.commit("kube-apiserver", "update", &id, key, Some((value, 0)), now);
        }
    }
}
