//! coordination, discovery, events, networking, scheduling, storage, and the groups that extend the server.

use serde_json::{Value, json};

use super::rules::{RULES, Rules};
use crate::apiserver::errors::Cause;
use crate::apiserver::resource::{Generation, Resource};

pub(super) fn resources() -> Vec<Resource> {
    let network = |kind, plural, short: &[&str]| Resource {
        generation: Generation::Spec,
        ..Resource::builtin("networking.k8s.io", "v1", kind, plural, short)
    };
    let admission = |kind, plural| Resource {
        allow_unconditional_update: false,
        generation: Generation::AllButMetadata,
        categories: vec!["api-extensions".to_owned()],
        ..Resource::builtin("admissionregistration.k8s.io", "v1", kind, plural, &[]).cluster()
    };
    vec![
        Resource {
            allow_create_on_update: true,
            allow_unconditional_update: false,
            ..Resource::builtin("coordination.k8s.io", "v1", "Lease", "leases", &[])
        }
        .ruled(Rules { validate: validate_lease, ..RULES }),
        Resource {
            generation: Generation::AllButMetadata,
            ..Resource::builtin("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", &[])
        },
        // K7: the same table as core events.
        Resource {
            allow_create_on_update: true,
            id: "events".into(),
            ..Resource::builtin("events.k8s.io", "v1", "Event", "events", &["ev"])
        }
        .selectable(super::event::CORE_FIELDS)
        .ruled(Rules { validate: super::event::validate_new, ..RULES }),
        network("IngressClass", "ingressclasses", &[]).cluster(),
        Resource { status: true, ..network("Ingress", "ingresses", &["ing"]) }
            .ruled(Rules { status: r#"{"loadBalancer":{}}"#, ..RULES }),
        network("NetworkPolicy", "networkpolicies", &["netpol"]),
        Resource {
            generation: Generation::AllButMetadata,
            ..Resource::builtin("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", &["pc"]).cluster()
        },
        Resource::builtin("storage.k8s.io", "v1", "StorageClass", "storageclasses", &["sc"]).cluster(),
        admission("MutatingWebhookConfiguration", "mutatingwebhookconfigurations"),
        admission("ValidatingWebhookConfiguration", "validatingwebhookconfigurations"),
        Resource {
            status: true,
            generation: Generation::Spec,
            ..admission("ValidatingAdmissionPolicy", "validatingadmissionpolicies")
        }
        .ruled(Rules { status: "{}", ..RULES }),
        Resource {
            generation: Generation::Spec,
            ..admission("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings")
        },
        Resource {
            status: true,
            allow_unconditional_update: false,
            generation: Generation::Spec,
            categories: vec!["api-extensions".to_owned()],
            ..Resource::builtin(
                "apiextensions.k8s.io",
                "v1",
                "CustomResourceDefinition",
                "customresourcedefinitions",
                &["crd", "crds"],
            )
            .with_strategy(crate::apiserver::crd::Definitions)
            .cluster()
        },
        Resource {
            status: true,
            allow_unconditional_update: false,
            categories: vec!["api-extensions".to_owned()],
            ..Resource::builtin("apiregistration.k8s.io", "v1", "APIService", "apiservices", &[]).cluster()
        },
    ]
}

/// K6: durations above zero. Precision of the times is checked while decoding.
fn validate_lease(new: &Value, _old: Option<&Value>) -> Vec<Cause> {
    let spec = &new["spec"];
    let mut causes = Vec::new();
    if let Some(seconds) = spec["leaseDurationSeconds"].as_i64().filter(|&seconds| seconds <= 0) {
        causes.push(Cause::invalid("spec.leaseDurationSeconds", &json!(seconds), "must be greater than 0"));
    }
    if let Some(transitions) = spec["leaseTransitions"].as_i64().filter(|&transitions| transitions < 0) {
        causes.push(Cause::invalid("spec.leaseTransitions", &json!(transitions), "must be greater than or equal to 0"));
    }
    causes
}
