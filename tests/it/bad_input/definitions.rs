//! Definitions of Flux that are missing, not served, or made anew.

use fakes::flux::Settings;
use serde_json::{Value, json};

use super::table::{DEFINITIONS, Run, named, release, row};
use crate::stage::Stage;

const RELEASE_DEFINITION: &str =
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/helmreleases.helm.toolkit.fluxcd.io";

/// A definition as its author wrote it.
fn fresh(mut definition: Value) -> Value {
    for field in ["uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "finalizers"] {
        definition["metadata"].as_object_mut().expect("metadata").remove(field);
    }
    definition.as_object_mut().expect("an object").remove("status");
    definition
}

#[tokio::test(start_paused = true)]
async fn without_an_api_of_flux_it_says_so_and_goes_on_when_it_comes() {
    let mut stage = Stage::without_operator(Settings::default()).await;
    let path = format!("{DEFINITIONS}/ocirepositories.source.toolkit.fluxcd.io");
    let definition = stage.get(&path).await;
    stage.admin.delete(&path, None).await;
    stage.pass(5).await;
    stage.run();
    stage.pass(5).await;
    let mut run = Run::new(stage);
    let rows = [row("early", "Flux serves no OCIRepository", "Blocked=T/MissingDependencies", "OCIRepository", |_| {})];
    run.apply(&rows).await;
    run.judge(&rows).await;
    let repository = named("neighbour", |manifest| {
        manifest["spec"]["chart"]["sourceType"] = json!("helm");
        manifest["spec"]["chart"]["url"] = json!("https://charts.example.org");
    });
    run.stage.world.publish("https://charts.example.org", "nextcloud", "6.6.0");
    run.stage.apply(&repository).await;
    run.stage.says("neighbour", &["Ready=T/HelmReleaseReady"], 60).await;
    run.stage.cluster.create(DEFINITIONS, &fresh(definition)).await;
    run.stage.says("early", &["Ready=T/HelmReleaseReady", "Blocked=F/Unblocked"], 400).await;
    run.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_definition_that_is_not_served_for_a_while_changes_nothing_but_a_condition() {
    let run = Run::new(Stage::start(Settings::default()).await);
    run.neighbour("files", 60).await;
    let before = run.stage.release().await;
    let mut definition = run.stage.get(RELEASE_DEFINITION).await;
    let serve = async |run: &Run, definition: &mut Value, served: bool| {
        for version in definition["spec"]["versions"].as_array_mut().expect("versions") {
            version["served"] = json!(served);
        }
        let (code, answer) =
            run.stage.admin.merge_patch(RELEASE_DEFINITION, &json!({"spec": definition["spec"]})).await;
        assert_eq!(code, 200, "{answer}");
    };
    serve(&run, &mut definition, false).await;
    run.stage.patch(json!({"metadata": {"annotations": {"example.org/now": "1"}}})).await;
    run.stage.says("files", &["Blocked=T/MissingDependencies"], 120).await;
    run.stage.pass(120).await;
    let said = run.stage.conditions("files").await;
    assert!(!said.iter().any(|text| text == "Ready=F/HelmReleaseFailed"), "nobody can know that it failed: {said:?}");
    serve(&run, &mut definition, true).await;
    run.stage.says("files", &["Ready=T/HelmReleaseReady", "Blocked=F/Unblocked"], 400).await;
    let after = run.stage.release().await;
    assert_eq!((&after["metadata"]["uid"], &after["spec"]), (&before["metadata"]["uid"], &before["spec"]));
    run.end().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_definition_was_made_anew_the_release_is_too_and_not_before() {
    let run = Run::new(Stage::start(Settings::default()).await);
    run.neighbour("files", 60).await;
    let wish = run.stage.instance("files").await["spec"].clone();
    let definition = run.stage.get(RELEASE_DEFINITION).await;
    run.stage.admin.delete(RELEASE_DEFINITION, None).await;
    run.stage.says("files", &["Blocked=T/MissingDependencies"], 300).await;
    run.stage.pass(120).await;
    assert_eq!(run.stage.get(RELEASE_DEFINITION).await, Value::Null);
    assert_eq!(run.stage.get(&release("files")).await, Value::Null);
    run.stage.cluster.create(DEFINITIONS, &fresh(definition)).await;
    run.stage.says("files", &["Ready=T/HelmReleaseReady", "Blocked=F/Unblocked"], 600).await;
    assert_eq!(run.stage.instance("files").await["spec"], wish);
    run.end().await;
}
