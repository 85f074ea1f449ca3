//! Checklist D19, D21: what of server-side apply needs the whole server.

use serde_json::json;

use super::{CONFIG_MAPS, server};

#[tokio::test(start_paused = true)]
async fn conf_d19_an_applied_version_or_uid_is_a_precondition() {
    let server = server().await;
    let client = server.client("test");
    let apply = async |metadata: serde_json::Value| {
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
        client.apply(&format!("{CONFIG_MAPS}/a?fieldManager=m"), &body).await
    };
    let (code, answer) = apply(json!({"name": "a", "uid": "u"})).await;
    assert_eq!(code, 409);
    assert!(
        answer["message"]
            .as_str()
            .is_some_and(|text| text.contains("uid mismatch: the provided object specified uid u")),
        "{answer}"
    );
    assert_eq!(apply(json!({"name": "a", "resourceVersion": "1"})).await.0, 201, "a version of nothing is ignored");
    let (code, answer) = apply(json!({"name": "a", "resourceVersion": "1"})).await;
    assert_eq!((code, &answer["reason"]), (409, &json!("Conflict")));
    assert_eq!(apply(json!({"name": "a", "uid": "u"})).await.0, 422);
}

#[tokio::test(start_paused = true)]
async fn conf_d21_null_is_not_dropped_by_apply_and_required_fields_need_an_owner() {
    let server = server().await;
    let client = server.client("test");
    let schema = json!({"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object",
        "required": ["size"], "properties": {"size": {"type": "integer"}, "text": {"type": "string"}}}}}});
    let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.ex.io"}, "spec": {"group": "ex.io", "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}]}});
    client.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &crd).await;
    tokio::select! {
        biased;
        () = server.run_controllers() => panic!("the controllers ended"),
        () = tokio::time::sleep(std::time::Duration::from_secs(1)) => {}
    }
    let widgets = "/apis/ex.io/v1/namespaces/ns/widgets";
    let widget = |spec: serde_json::Value| json!({"apiVersion": "ex.io/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": spec});
    let path = format!("{widgets}/w?fieldManager=m");
    assert_eq!(client.apply(&path, &widget(json!({"size": 1, "text": null}))).await.0, 422);
    assert_eq!(client.post(widgets, &widget(json!({"size": 1, "text": null}))).await.0, 201);
    assert_eq!(client.apply(&format!("{path}&force=true"), &widget(json!({"size": 2}))).await.0, 200);
    let (code, answer) = client.apply(&path, &widget(json!({"text": "t"}))).await;
    assert_eq!(code, 422);
    assert!(answer["message"].as_str().is_some_and(|text| text.contains("spec.size: Required value")), "{answer}");
}
