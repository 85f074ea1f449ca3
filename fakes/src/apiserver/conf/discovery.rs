//! M: what clients find out before they do anything.

use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use serde_json::{Value, json};

use super::*;
use crate::apiserver::Body;

async fn get(server: &Server, path: &str, headers: &[(&str, &str)]) -> Response<Body> {
    let mut request = Request::builder().uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    server.handle("test", request.body(Empty::<bytes::Bytes>::new()).expect("a request")).await
}

async fn json_of(response: Response<Body>) -> Value {
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    serde_json::from_slice(&bytes).unwrap_or_else(|_| json!(String::from_utf8_lossy(&bytes)))
}

fn header(response: &Response<Body>, name: &str) -> String {
    response.headers().get(name).map(|value| value.to_str().expect("text").to_owned()).unwrap_or_default()
}

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

#[tokio::test]
async fn conf_m1() {
    let server = server().await;
    assert_eq!(json_of(get(&server, "/version", &[]).await).await["major"], "1");
    let accept = format!("{AGGREGATED},application/json");
    let response = get(&server, "/apis", &[("accept", &accept)]).await;
    assert_eq!(
        (header(&response, "content-type"), header(&response, "vary")),
        (AGGREGATED.to_owned(), "Accept".to_owned())
    );
    let tag = header(&response, "etag");
    let document = json_of(response).await;
    let apps = document["items"]
        .as_array()
        .and_then(|items| items.iter().find(|group| group["metadata"]["name"] == "apps"))
        .expect("apps");
    assert_eq!(apps["versions"][0]["freshness"], "Current");
    let again = get(&server, "/apis", &[("accept", &accept), ("if-none-match", &tag)]).await;
    assert_eq!((again.status().as_u16(), header(&again, "content-type")), (304, String::new()));
    let plain = json_of(get(&server, "/apis", &[("accept", "application/json")]).await).await;
    assert_eq!(plain["kind"], "APIGroupList");
    assert_eq!(json_of(get(&server, "/api", &[]).await).await["versions"], json!(["v1"]));
}

#[tokio::test]
async fn conf_m2() {
    let server = server().await;
    let index = json_of(get(&server, "/openapi/v3", &[]).await).await;
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().expect("a URL").to_owned();
    let response = get(&server, &url, &[]).await;
    let tag = header(&response, "etag");
    let document = json_of(response).await;
    let deployment = &document["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"];
    assert_eq!(
        deployment["x-kubernetes-group-version-kind"],
        json!([{ "group": "apps", "version": "v1", "kind": "Deployment" }])
    );
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    let parameters = patch["parameters"].as_array().expect("parameters");
    assert!(parameters.iter().any(|parameter| parameter["name"] == "fieldValidation"));
    assert_eq!(get(&server, &url, &[("if-none-match", &tag)]).await.status(), 304);
    let outdated = get(&server, "/openapi/v3/apis/apps/v1?hash=00", &[]).await;
    assert_eq!((outdated.status().as_u16(), header(&outdated, "location")), (301, url));
    let old = json_of(get(&server, "/openapi/v2", &[]).await).await;
    assert_eq!(
        old["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]["x-kubernetes-patch-merge-key"],
        "name"
    );
    let protobuf =
        get(&server, "/openapi/v2", &[("accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")]).await;
    assert_eq!(header(&protobuf, "content-type"), "application/com.github.proto-openapi.spec.v2.v1.0+protobuf");
}

#[tokio::test]
async fn conf_m3() {
    let client = server().await.client("test");
    assert_eq!(client.get("/apis/nope.io/v1/things").await, (404, json!("404 page not found\n")));
    let (code, status) = client.get("/api/v1/namespaces/ns/gadgets/x").await;
    assert_eq!(
        (code, &status["message"], &status["details"]),
        (404, &json!("the server could not find the requested resource"), &json!({}))
    );
    let (code, status) = client.put(CONFIG_MAPS, &config_map("a")).await;
    assert_eq!((code, &status["reason"]), (405, &json!("MethodNotAllowed")));
}

#[tokio::test]
async fn conf_m5() {
    let server = server().await;
    for path in ["/readyz", "/livez", "/healthz"] {
        let response = get(&server, path, &[]).await;
        assert_eq!(header(&response, "cache-control"), "no-cache, private");
        assert!(!header(&response, "audit-id").is_empty(), "every answer can be found in the audit log");
        assert_eq!(json_of(response).await, "ok");
    }
}
