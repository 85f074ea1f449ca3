//! apps, batch, autoscaling, policy.

use serde_json::{Value, json};

use super::core::selector_changed;
use super::pod;
use super::rules::{Prepare, RULES, Rules, at, fill};
use crate::apiserver::errors::Cause;
use crate::apiserver::resource::{Generation, Resource};

pub(super) fn resources() -> Vec<Resource> {
    let apps = |kind, plural, short: &[&str]| Resource {
        status: true,
        generation: Generation::Spec,
        ..Resource::builtin("apps", "v1", kind, plural, short)
    };
    let batch = |kind, plural, short: &[&str]| Resource {
        status: true,
        generation: Generation::Spec,
        ..Resource::builtin("batch", "v1", kind, plural, short)
    };
    let workload = |status, prepare: Prepare| Rules { status, prepare, validate: validate_workload, ..RULES };
    vec![
        Resource::builtin("apps", "v1", "ControllerRevision", "controllerrevisions", &[]),
        apps("DaemonSet", "daemonsets", &["ds"]).in_all().ruled(workload(
            r#"{"currentNumberScheduled":0,"numberMisscheduled":0,"desiredNumberScheduled":0,"numberReady":0}"#,
            |new, _| {
                pod::template(new, "/spec/template");
                at(new, "/spec/updateStrategy", |strategy| {
                    rolling(strategy, json!({ "maxUnavailable": 1, "maxSurge": 0 }))
                });
            },
        )),
        Resource { generation: Generation::SpecAndAnnotations, ..apps("Deployment", "deployments", &["deploy"]) }
            .in_all()
            .scaled()
            .ruled(workload("{}", |new, _| {
                pod::template(new, "/spec/template");
                at(new, "/spec/strategy", |strategy| {
                    rolling(strategy, json!({ "maxUnavailable": "25%", "maxSurge": "25%" }))
                });
            })),
        apps("ReplicaSet", "replicasets", &["rs"])
            .in_all()
            .scaled()
            .selectable(&["status.replicas"])
            .ruled(workload(r#"{"replicas":0}"#, |new, _| pod::template(new, "/spec/template"))),
        apps("StatefulSet", "statefulsets", &["sts"]).in_all().scaled().ruled(workload(
            r#"{"replicas":0,"availableReplicas":0}"#,
            |new, _| {
                pod::template(new, "/spec/template");
                at(new, "/spec/updateStrategy", |strategy| rolling(strategy, json!({ "partition": 0 })));
            },
        )),
        batch("CronJob", "cronjobs", &["cj"]).in_all().ruled(Rules {
            status: "{}",
            prepare: |new, _| pod::template(new, "/spec/jobTemplate/spec/template"),
            validate: |new, _| {
                let mut causes = Vec::new();
                if new["spec"]["schedule"].as_str().is_none_or(str::is_empty) {
                    causes.push(Cause::required("spec.schedule", ""));
                }
                causes.extend(pod::spec_causes(
                    &new["spec"]["jobTemplate"]["spec"]["template"]["spec"],
                    "spec.jobTemplate.spec.template.spec",
                ));
                causes
            },
            ..RULES
        }),
        batch("Job", "jobs", &[]).in_all().selectable(&["status.successful"]).ruled(Rules {
            status: "{}",
            prepare: prepare_job,
            complete: complete_job,
            validate: validate_job,
        }),
        Resource {
            status: true,
            ..Resource::builtin("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", &["hpa"])
        }
        .in_all()
        .ruled(Rules { status: r#"{"desiredReplicas":0,"currentMetrics":null}"#, ..RULES }),
        Resource {
            status: true,
            generation: Generation::Spec,
            allow_unconditional_update: false,
            ..Resource::builtin("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", &["pdb"])
        }
        .ruled(Rules {
            status: r#"{"disruptionsAllowed":0,"currentHealthy":0,"desiredHealthy":0,"expectedPods":0}"#,
            ..RULES
        }),
    ]
}

/// `rollingUpdate` belongs to the type RollingUpdate alone.
fn rolling(strategy: &mut Value, defaults: Value) {
    if strategy["type"] != "RollingUpdate" {
        return;
    }
    fill(strategy, "rollingUpdate", json!({}));
    at(strategy, "/rollingUpdate", |rolling| {
        super::core::map(&defaults).into_iter().for_each(|(field, value)| fill(rolling, &field, value))
    });
}

fn validate_workload(new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let (selector, template) = (&new["spec"]["selector"], &new["spec"]["template"]);
    let mut causes = Vec::new();
    let empty = |value: &Value| super::core::map(value).is_empty();
    if selector.is_null() {
        causes.push(Cause::required("spec.selector", ""));
    } else if empty(&selector["matchLabels"]) && selector["matchExpressions"].as_array().is_none_or(Vec::is_empty) {
        causes.push(Cause::new(
            "FieldValueInvalid",
            "spec.selector",
            format!("Invalid value: {selector}: empty selector is invalid for deployment"),
        ));
    }
    let labels = &template["metadata"]["labels"];
    let wanted = super::core::map(&selector["matchLabels"]);
    if selector.is_null() || wanted.iter().any(|(key, value)| labels.get(key) != Some(value)) {
        let shown = if labels.is_null() { json!({}) } else { labels.clone() };
        let message = format!("Invalid value: {shown}: `selector` does not match template `labels`");
        causes.push(Cause::new("FieldValueInvalid", "spec.template.metadata.labels", message));
    }
    causes.extend(pod::spec_causes(&template["spec"], "spec.template.spec"));
    let restart = &template["spec"]["restartPolicy"];
    if !restart.is_null() && restart != "Always" {
        causes.push(Cause::not_supported("spec.template.spec.restartPolicy", restart, &["Always"]));
    }
    causes.extend(old.and_then(|old| selector_changed(new, old)));
    causes
}

fn prepare_job(new: &mut Value, _old: Option<&Value>) {
    pod::template(new, "/spec/template");
    at(new, "/spec", |spec| {
        if spec["completions"].is_null() && spec["parallelism"].is_null() {
            fill(spec, "completions", json!(1));
        }
        for (field, default) in [
            ("parallelism", json!(1)),
            ("backoffLimit", json!(6)),
            ("completionMode", json!("NonIndexed")),
            ("suspend", json!(false)),
            ("manualSelector", json!(false)),
            ("podReplacementPolicy", json!("TerminatingOrFailed")),
        ] {
            fill(spec, field, default);
        }
    });
}

/// A Job selects its pods by its uid unless it says otherwise.
fn complete_job(new: &mut Value, old: Option<&Value>) {
    let (uid, name) = (new["metadata"]["uid"].clone(), new["metadata"]["name"].clone());
    at(new, "/spec", |spec| {
        if old.is_none() && spec["manualSelector"] != true {
            let labels = json!({
                "batch.kubernetes.io/controller-uid": uid, "batch.kubernetes.io/job-name": name, "controller-uid": uid, "job-name": name,
            });
            at(spec, "/template", |template| {
                fill(template, "metadata", json!({}));
                at(template, "/metadata", |metadata| fill(metadata, "labels", json!({})));
                at(template, "/metadata/labels", |target| {
                    super::core::map(&labels).into_iter().for_each(|(key, value)| target[key] = value)
                });
            });
            spec["selector"] = json!({ "matchLabels": { "batch.kubernetes.io/controller-uid": uid } });
        }
    });
}

fn validate_job(new: &Value, old: Option<&Value>) -> Vec<Cause> {
    let template = &new["spec"]["template"];
    let mut causes = pod::spec_causes(&template["spec"], "spec.template.spec");
    let restart = &template["spec"]["restartPolicy"];
    if !matches!(restart.as_str(), Some("OnFailure" | "Never")) {
        let message = format!("Required value: valid values: {:?}, {:?}", "OnFailure", "Never");
        causes.push(Cause::new("FieldValueRequired", "spec.template.spec.restartPolicy", message));
    }
    if let Some(old) = old {
        causes.extend(selector_changed(new, old));
        if new["spec"]["suspend"] != true && new["spec"]["template"] != old["spec"]["template"] {
            causes.push(super::rules::immutable("spec.template", template));
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(plural: &str) -> Resource {
        resources().into_iter().find(|resource| resource.plural == plural).expect("a workload")
    }

    #[test]
    fn a_deployment_gets_its_defaults_and_keeps_its_selector() {
        let strategy = rules("deployments").strategy.expect("rules");
        let mut new = json!({"metadata": {"name": "d"}, "spec": {"strategy": {"type": "RollingUpdate"}, "selector": {"matchLabels": {"a": "b"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x:1", "resources": {"limits": {"cpu": "1"}}}]}}}});
        strategy.prepare(&mut new, None, None);
        strategy.complete(&mut new, None, None);
        assert_eq!(new["spec"]["strategy"]["rollingUpdate"], json!({"maxUnavailable": "25%", "maxSurge": "25%"}));
        let container = &new["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(
            (&container["imagePullPolicy"], &container["resources"]["requests"]),
            (&json!("IfNotPresent"), &json!({"cpu": "1"}))
        );
        assert_eq!(new["status"], json!({}));
        assert_eq!(strategy.validate(&new, None, None), []);
        let mut other = new.clone();
        other["spec"]["selector"] = json!({"matchLabels": {"a": "c"}});
        let causes: Vec<String> = strategy
            .validate(&other, Some(&new), None)
            .into_iter()
            .map(|cause| format!("{}: {}", cause.field, cause.message))
            .collect();
        assert_eq!(
            causes,
            [
                "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`",
                "spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"c\"}}: field is immutable",
            ]
        );
    }

    #[test]
    fn a_job_selects_by_its_uid_and_must_not_restart_always() {
        let strategy = rules("jobs").strategy.expect("rules");
        let mut new = json!({"metadata": {"name": "j", "uid": "u"}, "spec": {"template": {"spec": {"containers": [{"name": "c", "image": "x"}]}}}});
        strategy.prepare(&mut new, None, None);
        strategy.complete(&mut new, None, None);
        assert_eq!(new["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"], "u");
        assert_eq!(new["spec"]["template"]["metadata"]["labels"]["job-name"], "j");
        assert_eq!(strategy.validate(&new, None, None)[0].field, "spec.template.spec.restartPolicy");
    }
}
