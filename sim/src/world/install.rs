//! What a cluster holds before anybody works on it: definitions, namespaces.

use fakes::apiserver::Client;
use fakes::kinds;
use serde_json::{Value, json};

/// The operator's own namespace (contract §3.2).
pub const SYSTEM: &str = "vworkspace-system";

/// Namespaces of the operator and of Flux.
const NAMESPACES: [&str; 2] = [SYSTEM, "flux-system"];

/// Installs the definitions and waits until they are served.
///
/// # Errors
/// What the API server refused, with its message.
pub async fn install(admin: &Client, foreign: &[Value]) -> Result<(), String> {
    for name in NAMESPACES {
        create(
            admin,
            "/api/v1/namespaces",
            &json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }),
        )
        .await?;
    }
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let ours = operator::api::crd::all().into_iter().map(|(_, crd)| crd);
    for definition in foreign.iter().cloned().chain(ours) {
        create(admin, path, &definition).await?;
        let one = format!("{path}/{}", kinds::name_of(&definition));
        while !established(&admin.get(&one).await.1) {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        // Established a little before it is served.
        let spec = &definition["spec"];
        let served = spec["versions"].as_array().into_iter().flatten().find(|version| version["served"] == true);
        if let Some(version) = served {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            let (group, plural) = (text(&spec["group"]), text(&spec["names"]["plural"]));
            let list = format!("/apis/{group}/{}/{plural}?limit=1", text(&version["name"]));
            while admin.get(&list).await.0 == 404 {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
    }
    Ok(())
}

async fn create(admin: &Client, path: &str, object: &Value) -> Result<(), String> {
    let (status, answer) = admin.post(path, object).await;
    if status == 201 {
        return Ok(());
    }
    Err(format!("{} was refused: {status} {}", kinds::name_of(object), answer["message"].as_str().unwrap_or_default()))
}

fn established(definition: &Value) -> bool {
    crate::truth::condition_status(definition, "Established") == "True"
}
