//! HelmRelease of helm-controller.

use serde_json::json;

use super::super::definition::{Definition, Version};
use super::super::schema::{Schema, anything, flag, integer, list, long, map, moment, name_only, object, text};
use super::FluxRelease::{self, V2_0, V2_3, V2_5, V2_6, V2_7, V2_8, V2_9};
use super::{AGE, READY, STATUS, categories, interval, inventory, namespace_name, object_name, retries, status};

pub(super) fn definition(release: FluxRelease) -> Definition {
    let names: &[&str] = match release {
        V2_0 => &["v2beta1"],
        _ if release < V2_7 => &["v2", "v2beta2", "v2beta1"],
        V2_7 => &["v2", "v2beta2"],
        _ => &["v2"],
    };
    Definition {
        group: "helm.toolkit.fluxcd.io",
        kind: "HelmRelease",
        plural: "helmreleases",
        short_names: &["hr"],
        categories: categories(release, &["all", "fluxcd", "fluxcd-appliers"]),
        versions: names.iter().enumerate().map(|(index, name)| version(release, name, index == 0)).collect(),
    }
}

fn version(release: FluxRelease, name: &'static str, storage: bool) -> Version {
    let (spec, status) = if name == "v2beta1" {
        (first_spec(release), super::status())
    } else {
        let fields = if name == "v2" { release } else { release.min(V2_3) };
        (spec(release, fields), history_status(fields))
    };
    Version {
        name,
        storage,
        deprecated: !storage,
        columns: vec![AGE, READY, STATUS],
        description: "A wish that one Helm chart is installed with these values.",
        spec,
        status,
    }
}

/// v2beta1: enough to store one and to see that it is not ours to drive.
fn first_spec(release: FluxRelease) -> Schema {
    let kinds: &[&str] = &["HelmRepository", "GitRepository", "Bucket"];
    // 2.3 and its neighbours had loosened the old name for a while.
    let strict = release == V2_0 || release >= V2_6;
    let reference = object().need("name", object_name());
    let kind = text().one_of(kinds);
    let reference = if release >= V2_6 { reference.need("kind", kind) } else { reference.may("kind", kind) };
    let chart = object().need("chart", text()).need("sourceRef", reference).may("version", text().default(json!("*")));
    let whole = object().need("interval", interval()).may("releaseName", text().length(1, 53)).may("suspend", flag());
    let chart = object().need("spec", chart);
    if strict { whole.need("chart", chart) } else { whole.may("chart", chart) }
}

/// `release` decides what is loose or strict, `fields` which optional fields exist: the old name v2beta2 never got new ones.
fn spec(release: FluxRelease, fields: FluxRelease) -> Schema {
    object()
        .rule(
            "(has(self.chart) && !has(self.chartRef)) || (!has(self.chart) && has(self.chartRef))",
            "either chart or chartRef must be set",
        )
        .may("chart", chart_template(release).says("Chart to fetch through a HelmChart that is generated."))
        .may("chartRef", chart_reference(release).says("Source that already offers the chart."))
        .need("interval", interval().says("Time between two looks at the release."))
        .may("suspend", flag().says("Do nothing at all; deletion then leaves the release behind."))
        .may("releaseName", text().length(1, 53))
        .may("targetNamespace", namespace_name())
        .may("storageNamespace", namespace_name())
        .may("dependsOn", list(dependency(fields)))
        .may("timeout", interval().says("Bound of one Helm action and of each hook."))
        .may("maxHistory", integer())
        .may("serviceAccountName", object_name().says("Account on whose behalf Helm acts."))
        .may("persistentClient", flag())
        .may("kubeConfig", kube_config(release))
        .may("driftDetection", drift_detection())
        .may("install", install(fields))
        .may("upgrade", upgrade(fields))
        .may("test", test())
        .may("rollback", rollback(fields))
        .may("uninstall", uninstall())
        .may("valuesFrom", list(values_reference(fields)).says("Sources of values, later ones win."))
        .may("values", anything().says("Values on top of all references."))
        .only_if(fields >= V2_7, |spec| {
            spec.may("commonMetadata", object().may("annotations", map(text())).may("labels", map(text())))
        })
        .only_if(fields >= V2_8, |spec| {
            spec.may("waitStrategy", object().need("name", text().one_of(&["poller", "legacy"])))
        })
        .only_if(fields >= V2_9, |spec| {
            spec.may("postRenderStrategy", text().one_of(&["nohooks", "combined", "separate"]))
        })
}

fn chart_template(release: FluxRelease) -> Schema {
    let kinds: &[&str] = &["HelmRepository", "GitRepository", "Bucket"];
    let reference = object().may("apiVersion", text()).need("name", object_name()).may("namespace", namespace_name());
    let kind = text().one_of(kinds);
    let reference = if release >= V2_6 { reference.need("kind", kind) } else { reference.may("kind", kind) };
    let verify = object()
        .need("provider", text().one_of(&["cosign", "notation"]).default(json!("cosign")))
        .may("secretRef", name_only());
    let spec = object()
        .need("chart", text().length(1, 2048))
        .need("sourceRef", reference)
        .may("version", text().default(json!("*")))
        .may("interval", interval())
        .may("reconcileStrategy", text().one_of(&["ChartVersion", "Revision"]).default(json!("ChartVersion")))
        .may("valuesFiles", list(text()))
        .may("ignoreMissingValuesFiles", flag())
        .may("verify", verify);
    object().may("metadata", object().may("labels", map(text())).may("annotations", map(text()))).need("spec", spec)
}

fn chart_reference(release: FluxRelease) -> Schema {
    let kinds: &[&str] = if release >= V2_7 {
        &["OCIRepository", "HelmChart", "ExternalArtifact"]
    } else {
        &["OCIRepository", "HelmChart"]
    };
    object()
        .may("apiVersion", text())
        .need("kind", text().one_of(kinds))
        .need("name", object_name())
        .may("namespace", namespace_name())
}

fn dependency(fields: FluxRelease) -> Schema {
    object()
        .need("name", text())
        .may("namespace", text())
        .only_if(fields >= V2_7, |dependency| dependency.may("readyExpr", text()))
}

fn kube_config(release: FluxRelease) -> Schema {
    let secret = object().need("name", text()).may("key", text());
    if release < V2_7 {
        return object().need("secretRef", secret);
    }
    let message = "exactly one of spec.kubeConfig.configMapRef or spec.kubeConfig.secretRef must be specified";
    object()
        .may("secretRef", secret)
        .may("configMapRef", name_only())
        .rule("has(self.configMapRef) || has(self.secretRef)", message)
        .rule("!has(self.configMapRef) || !has(self.secretRef)", message)
}

fn drift_detection() -> Schema {
    let target = ["group", "version", "kind", "name", "namespace", "annotationSelector", "labelSelector"]
        .iter()
        .fold(object(), |target, field| target.may(field, text()));
    let ignore = object().need("paths", list(text())).may("target", target);
    object().may("mode", text().one_of(&["enabled", "warn", "disabled"])).may("ignore", list(ignore))
}

fn flags(names: &[&str]) -> Schema {
    names.iter().fold(object(), |schema, name| schema.may(name, flag()))
}

fn remediation() -> Schema {
    flags(&["ignoreTestFailures", "remediateLastFailure"]).may("retries", retries())
}

fn crd_policy() -> Schema {
    text().one_of(&["Skip", "Create", "CreateReplace"])
}

fn strategy() -> Schema {
    object().need("name", text().one_of(&["RemediateOnFailure", "RetryOnFailure"])).may("retryInterval", interval())
}

fn install(fields: FluxRelease) -> Schema {
    let common = ["createNamespace", "disableHooks", "disableOpenAPIValidation", "disableWait", "disableWaitForJobs"];
    flags(&common)
        .may("replace", flag())
        .may("skipCRDs", flag())
        .may("crds", crd_policy())
        .may("timeout", interval())
        .may("remediation", remediation())
        .only_if(fields >= V2_5, ownership)
        .only_if(fields >= V2_7, |install| {
            install.may(
                "strategy",
                strategy().rule(
                    "!has(self.retryInterval) || self.name != 'RemediateOnFailure'",
                    ".retryInterval cannot be set when .name is 'RemediateOnFailure'",
                ),
            )
        })
        .only_if(fields >= V2_8, |install| install.may("serverSideApply", flag()))
}

fn ownership(action: Schema) -> Schema {
    action.may("disableTakeOwnership", flag()).may("disableSchemaValidation", flag())
}

fn upgrade(fields: FluxRelease) -> Schema {
    let common = ["cleanupOnFail", "disableHooks", "disableOpenAPIValidation", "disableWait", "disableWaitForJobs"];
    flags(&common)
        .may("force", flag())
        .may("preserveValues", flag())
        .may("crds", crd_policy())
        .may("timeout", interval())
        .may("remediation", remediation().may("strategy", text().one_of(&["rollback", "uninstall"])))
        .only_if(fields >= V2_5, ownership)
        .only_if(fields >= V2_7, |upgrade| {
            upgrade.may(
                "strategy",
                strategy().rule(
                    "!has(self.retryInterval) || self.name == 'RetryOnFailure'",
                    ".retryInterval can only be set when .name is 'RetryOnFailure'",
                ),
            )
        })
        .only_if(fields >= V2_8, |upgrade| upgrade.may("serverSideApply", apply_mode()))
        .only_if(fields >= V2_9, |upgrade| {
            upgrade.may("chartNameChangeStrategy", text().one_of(&["InPlaceUpdate", "Reinstall"]))
        })
}

fn apply_mode() -> Schema {
    text().one_of(&["enabled", "disabled", "auto"])
}

fn test() -> Schema {
    let filter = object().need("name", object_name()).may("exclude", flag());
    flags(&["enable", "ignoreFailures"]).may("timeout", interval()).may("filters", list(filter))
}

fn rollback(fields: FluxRelease) -> Schema {
    flags(&["cleanupOnFail", "disableHooks", "disableWait", "disableWaitForJobs", "force", "recreate"])
        .may("timeout", interval())
        .only_if(fields >= V2_8, |rollback| rollback.may("serverSideApply", apply_mode()))
}

fn uninstall() -> Schema {
    flags(&["disableHooks", "disableWait", "keepHistory"])
        .may("timeout", interval())
        .may("deletionPropagation", text().one_of(&["background", "foreground", "orphan"]).default(json!("background")))
}

fn values_reference(fields: FluxRelease) -> Schema {
    object()
        .need("kind", text().one_of(&["Secret", "ConfigMap"]))
        .need("name", object_name())
        .may("valuesKey", text().length(0, 253).pattern(r"^[\-._a-zA-Z0-9]+$"))
        .may("targetPath", text().length(0, 250).pattern(r"^([a-zA-Z0-9_\-.\\\/]|\[[0-9]{1,5}\])+$"))
        .may("optional", flag())
        .only_if(fields >= V2_9, |reference| reference.may("literal", flag()))
}

fn history_status(fields: FluxRelease) -> Schema {
    let counters = ["failures", "installFailures", "upgradeFailures", "lastAttemptedGeneration"];
    let texts = [
        "lastAttemptedRevision",
        "lastAttemptedRevisionDigest",
        "lastAttemptedConfigDigest",
        "lastAttemptedValuesChecksum",
        "lastHandledForceAt",
        "lastHandledResetAt",
        "helmChart",
        "observedPostRenderersDigest",
    ];
    let whole = counters.iter().fold(status(), |whole, name| whole.may(name, long()));
    texts
        .iter()
        .fold(whole, |whole, name| whole.may(name, text()))
        .may("lastReleaseRevision", integer())
        .may("lastAttemptedReleaseAction", text().one_of(&["install", "upgrade"]))
        .may("storageNamespace", namespace_name())
        .may("history", list(snapshot(fields)).says("Newest first."))
        .only_if(fields >= V2_7, |whole| {
            whole.may("lastAttemptedReleaseActionDuration", text()).may("observedCommonMetadataDigest", text())
        })
        .only_if(fields >= V2_8, |whole| whole.may("inventory", inventory()))
}

fn snapshot(fields: FluxRelease) -> Schema {
    let hook = object().may("lastStarted", moment()).may("lastCompleted", moment()).may("phase", text());
    let needed = ["digest", "name", "namespace", "status", "chartName", "chartVersion", "configDigest"];
    needed
        .iter()
        .fold(object(), |snapshot, name| snapshot.need(name, text()))
        .need("version", integer())
        .need("firstDeployed", moment())
        .need("lastDeployed", moment())
        .may("deleted", moment())
        .may("apiVersion", text())
        .may("appVersion", text())
        .may("ociDigest", text())
        .may("testHooks", map(hook))
        .only_if(fields >= V2_8, |snapshot| snapshot.may("action", text()))
}
