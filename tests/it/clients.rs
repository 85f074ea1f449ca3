//! Real command-line clients against the fake API server on a loopback port: kubectl, and helm with a small chart.
//!
//! The programs come from `VWORKSPACE_KUBECTL` and `VWORKSPACE_HELM` or from the PATH. Where one is missing its test says so and passes:
//! what these clients send is also in the recorded profile `clients`, which needs no programs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use fakes::apiserver::{Authorization, Clock, Config, Server, serve};

/// A served cluster with a kubeconfig in a directory of its own.
struct Cluster {
    directory: PathBuf,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Cluster {
    /// Serves an empty cluster with RBAC until dropped.
    fn start() -> Cluster {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("vworkspace-clients-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a temporary directory");
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (ready, port) = std::sync::mpsc::channel();
        #[expect(clippy::disallowed_methods, reason = "real clients need real time and a server beside them")]
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
                ready.send(listener.local_addr().expect("a bound address").port()).expect("the test waits");
                let mut config = Config::new(Clock::new(now), 1);
                config.authorization = Authorization::Rbac;
                let server = Server::new(config);
                tokio::select! {
                    biased;
                    _ = stopped => {}
                    () = server.run_controllers() => {}
                    result = serve::serve(listener, server.clone()) => panic!("the port failed: {result:?}"),
                }
            });
        });
        let port = port.recv().expect("the server starts");
        let config = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: fake\nclusters:\n- name: fake\n  cluster: {{server: 'http://127.0.0.1:{port}'}}\n\
             users:\n- name: admin\n  user: {{}}\ncontexts:\n- name: fake\n  context: {{cluster: fake, user: admin, namespace: default}}\n"
        );
        std::fs::write(directory.join("config"), config).expect("a kubeconfig");
        Cluster { directory, stop: Some(stop), thread: Some(thread) }
    }

    fn file(&self, name: &str, text: &str) {
        let path = self.directory.join(name);
        std::fs::create_dir_all(path.parent().expect("a file in the directory")).expect("a directory");
        std::fs::write(path, text).expect("a file");
    }

    fn output(&self, program: &Path, arguments: &[&str]) -> Output {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.directory).env("HOME", &self.directory);
        command.env("KUBECONFIG", self.directory.join("config")).env("KUBECACHEDIR", self.directory.join("cache"));
        command.output().unwrap_or_else(|error| panic!("{}: {error}", program.display()))
    }

    /// Runs a command that must succeed, and returns what it printed.
    fn run(&self, program: &Path, arguments: &[&str]) -> String {
        let output = self.output(program, arguments);
        let (shown, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{arguments:?} failed:\n{shown}{errors}");
        shown.into_owned()
    }

    /// Runs a command that must fail, and returns its complaint.
    fn refused(&self, program: &Path, arguments: &[&str]) -> String {
        let output = self.output(program, arguments);
        assert!(!output.status.success(), "{arguments:?} succeeded:\n{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8_lossy(&output.stderr).into_owned()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the server has been printed; the test fails by its own assertion.
            let _ = thread.join();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[expect(clippy::disallowed_methods, reason = "real clients compare times with their own clock")]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// The program named by a variable or found on the PATH.
fn program(variable: &str, name: &str) -> Option<PathBuf> {
    let named = std::env::var_os(variable).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = named
        .or_else(|| std::env::split_paths(&path).map(|directory| directory.join(name)).find(|path| path.is_file()));
    if found.is_none() {
        println!("skipped: no {name} on the PATH and {variable} is not set");
    }
    found
}

const MANIFEST: &str = r#"
apiVersion: v1
kind: ConfigMap
metadata: {name: a, labels: {x: "1"}}
data: {k: v}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: "nginx:1", ports: [{containerPort: 80}]}]}
"#;

#[test]
fn kubectl_applies_reads_waits_and_explains() {
    let Some(kubectl) = program("VWORKSPACE_KUBECTL", "kubectl") else { return };
    let cluster = Cluster::start();
    let run = |arguments: &[&str]| cluster.run(&kubectl, arguments);
    cluster.file("all.yaml", MANIFEST);

    assert!(run(&["api-resources"]).contains("customresourcedefinitions"));
    assert!(run(&["apply", "-f", "all.yaml"]).contains("deployment.apps/web created"));
    assert!(run(&["apply", "-f", "all.yaml"]).contains("configmap/a unchanged"));
    assert!(run(&["get", "cm", "a"]).contains("DATA"));
    assert!(run(&["get", "deploy", "-o", "wide"]).contains("nginx:1"));
    assert!(run(&["describe", "deploy", "web"]).contains("25% max unavailable"));
    run(&["set", "image", "deploy/web", "c=nginx:2"]);
    assert_eq!(run(&["get", "deploy", "web", "-o", "jsonpath={.metadata.generation}"]), "2");
    run(&["scale", "deploy/web", "--replicas=3"]);
    assert_eq!(run(&["get", "deploy", "web", "-o", "jsonpath={.spec.replicas}"]), "3");
    run(&["patch", "cm", "a", "-p", r#"{"data":{"z":"9"}}"#]);
    run(&["label", "cm", "a", "y=2"]);
    assert!(run(&["wait", "cm/a", "--for=jsonpath={.data.z}=9", "--timeout=5s"]).contains("condition met"));
    assert!(run(&["get", "cm", "a", "-w", "--request-timeout=1s"]).contains("a"));

    let conflict = cluster.refused(&kubectl, &["apply", "--server-side", "--field-manager=other", "-f", "all.yaml"]);
    assert!(conflict.contains("conflicts with \"kubectl-set\" using apps/v1"), "{conflict}");
    run(&["apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "all.yaml"]);
    assert!(run(&["get", "cm", "a", "-o", "yaml", "--show-managed-fields"]).contains("manager: other"));

    assert!(run(&["explain", "deployment.spec.strategy"]).contains("rollingUpdate"));
    assert!(run(&["explain", "pod.spec", "--recursive"]).contains("volumeMounts"));
    let unknown = cluster.refused(&kubectl, &["create", "configmap", "a", "--from-literal=k=v"]);
    assert!(unknown.contains("AlreadyExists") || unknown.contains("already exists"), "{unknown}");

    run(&["run", "pod", "--image=nginx"]);
    assert!(run(&["get", "pods"]).contains("Pending"));
    run(&["delete", "pod", "pod"]);
    run(&["delete", "-f", "all.yaml"]);
    assert!(cluster.refused(&kubectl, &["get", "cm", "a"]).contains("not found"));
}

#[test]
fn kubectl_manages_access() {
    let Some(kubectl) = program("VWORKSPACE_KUBECTL", "kubectl") else { return };
    let cluster = Cluster::start();
    let run = |arguments: &[&str]| cluster.run(&kubectl, arguments);
    run(&["create", "role", "reader", "--verb=get,list", "--resource=configmaps"]);
    run(&["create", "rolebinding", "reader", "--role=reader", "--user=bob"]);
    assert_eq!(run(&["auth", "can-i", "list", "configmaps", "--as=bob"]).trim(), "yes");
    assert!(!cluster.output(&kubectl, &["auth", "can-i", "list", "secrets", "--as=bob"]).status.success());
    assert!(run(&["auth", "can-i", "--list", "--as=bob"]).contains("configmaps"));
    assert!(run(&["auth", "whoami"]).contains("system:masters"));
    let refusal = cluster.refused(&kubectl, &["get", "secrets", "--as=bob"]);
    assert!(
        refusal
            .contains("User \"bob\" cannot list resource \"secrets\" in API group \"\" in the namespace \"default\""),
        "{refusal}"
    );
    run(&["create", "serviceaccount", "robot"]);
    assert!(run(&["create", "token", "robot", "--duration=10m"]).starts_with("eyJ"));
    assert!(run(&["create", "secret", "generic", "s", "--from-literal=p=1"]).contains("created"));
    assert!(run(&["get", "roles,rolebindings"]).contains("rolebinding.rbac.authorization.k8s.io/reader"));
}

const DEFINITION: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: gears.example.io}
spec:
  group: example.io
  scope: Namespaced
  names: {plural: gears, singular: gear, kind: Gear, shortNames: [ge]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}}
    additionalPrinterColumns: [{name: Teeth, type: integer, jsonPath: .spec.teeth}]
    schema:
      openAPIV3Schema:
        type: object
        description: A wheel with teeth.
        properties:
          spec:
            type: object
            properties: {teeth: {type: integer, maximum: 10, description: How many teeth.}}
          status: {type: object, properties: {phase: {type: string}}}
"#;

#[test]
fn kubectl_knows_custom_resources() {
    let Some(kubectl) = program("VWORKSPACE_KUBECTL", "kubectl") else { return };
    let cluster = Cluster::start();
    let run = |arguments: &[&str]| cluster.run(&kubectl, arguments);
    cluster.file("definition.yaml", DEFINITION);
    cluster.file("gear.yaml", "apiVersion: example.io/v1\nkind: Gear\nmetadata: {name: g}\nspec: {teeth: 3}\n");
    cluster.file("wrong.yaml", "apiVersion: example.io/v1\nkind: Gear\nmetadata: {name: w}\nspec: {teeth: 30}\n");
    run(&["apply", "-f", "definition.yaml"]);
    run(&["wait", "crd/gears.example.io", "--for=condition=Established", "--timeout=10s"]);
    run(&["apply", "-f", "gear.yaml"]);
    let table = run(&["get", "ge"]);
    assert!(table.contains("TEETH") && table.contains('3'), "{table}");
    assert!(run(&["explain", "gear.spec.teeth"]).contains("How many teeth."));
    let refusal = cluster.refused(&kubectl, &["apply", "-f", "wrong.yaml"]);
    assert!(refusal.contains("spec.teeth") && refusal.contains("less than or equal to 10"), "{refusal}");
    run(&["patch", "gear", "g", "--subresource=status", "--type=merge", "-p", r#"{"status":{"phase":"P"}}"#]);
    run(&["wait", "gear/g", "--for=jsonpath={.status.phase}=P", "--timeout=5s"]);
    run(&["delete", "-f", "definition.yaml"]);
    assert!(!run(&["api-resources"]).contains("gears"));
}

#[test]
fn helm_installs_upgrades_rolls_back_and_uninstalls() {
    let Some(helm) = program("VWORKSPACE_HELM", "helm") else { return };
    let cluster = Cluster::start();
    let run = |arguments: &[&str]| cluster.run(&helm, arguments);
    cluster.file("chart/Chart.yaml", "apiVersion: v2\nname: tiny\nversion: 0.1.0\n");
    cluster.file("chart/values.yaml", "val: one\n");
    let config_map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: '{{ .Release.Name }}-cm'}\ndata: {val: '{{ .Values.val }}'}\n";
    cluster.file("chart/templates/cm.yaml", config_map);
    cluster.file(
        "chart/templates/sa.yaml",
        "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: '{{ .Release.Name }}-sa'}\n",
    );
    let wait = ["--wait", "--timeout", "20s"];
    assert!(run(&[&["install", "rel", "chart"][..], &wait].concat()).contains("deployed"));
    run(&[&["upgrade", "rel", "chart", "--set", "val=two"][..], &wait].concat());
    assert!(run(&["get", "manifest", "rel"]).contains("val: 'two'"));
    run(&[&["rollback", "rel", "1"][..], &wait].concat());
    assert!(run(&["list"]).contains("tiny-0.1.0"));
    assert_eq!(run(&["history", "rel", "-o", "json"]).matches("\"revision\"").count(), 3);
    run(&[&["uninstall", "rel"][..], &wait].concat());
    assert!(!run(&["list"]).contains("tiny-0.1.0"));
}
