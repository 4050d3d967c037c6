//! The socket: who is let in, and under whose authority.

use std::net::SocketAddr;

use capi_apiserver::{
    ApiServer, User,
    https::{Authority, Credentials, HttpsError, kubeconfig},
};
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Client, Config,
    api::{Api, ListParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use secrecy::{ExposeSecret, SecretString};

async fn connect(kubeconfig: &SecretString) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig.expose_secret()).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .expect("a configuration");
    Client::try_from(config).expect("a client")
}

async fn names(client: &Client) -> kube::Result<usize> {
    Api::<Namespace>::all(client.clone())
        .list(&ListParams::default())
        .await
        .map(|list| list.items.len())
}

#[allow(
    clippy::disallowed_methods,
    reason = "certificates are checked by clients in real time"
)]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

#[tokio::test]
async fn a_client_certificate_opens_the_door() {
    let server = ApiServer::builder().build().expect("a server");
    let https = server.https().start().await.expect("a socket");
    let client = connect(&https.kubeconfig(&User::admin()).expect("a kubeconfig")).await;
    assert_eq!(names(&client).await.expect("listed"), 4);
}

#[tokio::test]
async fn a_token_opens_the_door_and_a_wrong_one_does_not() {
    let server = ApiServer::builder().build().expect("a server");
    let user = User {
        name: "robot".to_owned(),
        groups: Vec::new(),
    };
    let https = server
        .https()
        .token("secret".into(), user)
        .start()
        .await
        .expect("a socket");
    for (token, code) in [("secret", 200), ("wrong", 401), ("", 401)] {
        let credentials = Credentials::Token(token.into());
        let client = connect(&kubeconfig(
            "c",
            &https.url(),
            https.authority().certificate(),
            &credentials,
        ))
        .await;
        match names(&client).await {
            Ok(_) => assert_eq!(code, 200),
            Err(kube::Error::Api(status)) => assert_eq!(
                (status.code, status.reason.as_str()),
                (code, "Unauthorized")
            ),
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_not_accepted() {
    let server = ApiServer::builder().build().expect("a server");
    let https = server.https().start().await.expect("a socket");
    let other = Authority::generate("other", now()).expect("an authority");
    let identity = other
        .issue_client(&User::admin(), now())
        .expect("an identity");
    let credentials = Credentials::Certificate(identity);
    let client = connect(&kubeconfig(
        "c",
        &https.url(),
        https.authority().certificate(),
        &credentials,
    ))
    .await;
    assert!(names(&client).await.is_err());
}

#[tokio::test]
async fn a_server_plays_a_cluster_under_its_authority() {
    let made = Authority::generate("kubernetes", now()).expect("an authority");
    let identity = made
        .issue_client(&User::admin(), now())
        .expect("an identity");
    let certificate = made.certificate().to_owned();
    let server = ApiServer::builder().build().expect("a server");
    let https = server
        .https()
        .authority(made)
        .name("10.0.0.1")
        .start()
        .await
        .expect("a socket");
    let client = connect(&kubeconfig(
        "c",
        &https.url(),
        &certificate,
        &Credentials::Certificate(identity),
    ))
    .await;
    assert_eq!(names(&client).await.expect("listed"), 4);
}

#[tokio::test]
async fn only_loopback_is_listened_on_unless_forced() {
    let server = ApiServer::builder().build().expect("a server");
    let anywhere: SocketAddr = "0.0.0.0:0".parse().expect("an address");
    let refused = server.https().listen(anywhere).start().await;
    assert!(matches!(refused, Err(HttpsError::NotLoopback(_))));
}

#[tokio::test]
async fn a_dropped_server_closes_its_socket() {
    let server = ApiServer::builder().build().expect("a server");
    let https = server.https().start().await.expect("a socket");
    let client = connect(&https.kubeconfig(&User::admin()).expect("a kubeconfig")).await;
    names(&client).await.expect("listed");
    drop(https);
    assert!(names(&client).await.is_err());
}

#[tokio::test]
async fn health_is_told_to_everybody_and_nothing_else() {
    let server = ApiServer::builder().build().expect("a server");
    let https = server.https().start().await.expect("a socket");
    let credentials = Credentials::Token("".into());
    let client = connect(&kubeconfig(
        "c",
        &https.url(),
        https.authority().certificate(),
        &credentials,
    ))
    .await;
    let get = |path: &str| {
        http::Request::get(path)
            .body(Vec::new())
            .expect("a request")
    };
    assert_eq!(
        client.request_text(get("/readyz")).await.expect("ready"),
        "ok"
    );
    assert!(client.request_text(get("/version")).await.is_err());
}
