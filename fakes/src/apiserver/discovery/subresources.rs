//! What discovery says of subresources.

use crate::apiserver::resource::Resource;

/// One subresource. Group and version are empty when they are those of the resource.
pub(super) struct Subresource<'a> {
    pub(super) name: &'a str,
    pub(super) group: &'static str,
    pub(super) version: &'static str,
    pub(super) kind: &'a str,
    pub(super) verbs: &'static [&'static str],
}

const CHANGE: &[&str] = &["get", "patch", "update"];
const CONNECT: &[&str] = &["create", "get"];

/// The subresources of a resource; by name, except that custom resources list status before scale.
pub(super) fn of(resource: &Resource) -> Vec<Subresource<'_>> {
    let kind = resource.kind.as_str();
    let own = |name, verbs| Subresource { name, group: "", version: "", kind, verbs };
    let mut all: Vec<Subresource<'_>> = resource
        .subresources
        .iter()
        .map(|name| match name.as_str() {
            "finalize" => own(name, &["update"]),
            "token" => Subresource {
                group: "authentication.k8s.io",
                version: "v1",
                kind: "TokenRequest",
                ..own(name, &["create"])
            },
            "eviction" => Subresource { group: "policy", version: "v1", kind: "Eviction", ..own(name, &["create"]) },
            "binding" => Subresource { kind: "Binding", ..own(name, &["create"]) },
            "attach" => Subresource { kind: "PodAttachOptions", ..own(name, CONNECT) },
            "exec" => Subresource { kind: "PodExecOptions", ..own(name, CONNECT) },
            "portforward" => Subresource { kind: "PodPortForwardOptions", ..own(name, CONNECT) },
            "proxy" => {
                let kind = match kind {
                    "Pod" => "PodProxyOptions",
                    "Node" => "NodeProxyOptions",
                    _ => "ServiceProxyOptions",
                };
                Subresource { kind, ..own(name, &["create", "delete", "get", "patch", "update"]) }
            }
            "log" => own(name, &["get"]),
            _ => own(name, CHANGE),
        })
        .collect();
    if resource.status {
        all.push(own("status", CHANGE));
    }
    if resource.scale.is_some() {
        all.push(Subresource { group: "autoscaling", version: "v1", kind: "Scale", ..own("scale", CHANGE) });
    }
    if resource.custom.is_none() {
        all.sort_by_key(|sub| sub.name);
    }
    all
}
