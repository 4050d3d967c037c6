//! What must never be written anywhere.

use std::sync::Arc;

use capi_controlplane_talos::client::ApplyMode;
use secrecy::{ExposeSecret as _, SecretString};

use crate::fixture::Lab;

/// What is written at any level by anybody in this process, while a subscriber is set.
#[derive(Clone, Default)]
struct Written(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0
            .lock()
            .expect("no panic before")
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_at_trace_level_holds_no_secret() {
    let written = Written::default();
    let sink = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || sink.clone())
        .finish();
    // with a single subscriber, what other tests' threads see first decides what is logged
    let second = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(std::io::sink)
        .finish();
    let second = tracing::Dispatch::new(second);
    let guard = tracing::subscriber::set_default(subscriber);
    let lab = Lab::virtual_time();
    let node = lab.cluster(2).await;
    let config = SecretString::from(lab.keys.config("controlplane", "flannel"));
    node.apply_configuration(&config, ApplyMode::Staged, false, None)
        .await
        .expect("apply");
    let kubeconfig = node.kubeconfig().await.expect("kubeconfig");
    drop((guard, second));

    let log = String::from_utf8_lossy(&written.0.lock().expect("no panic before")).into_owned();
    assert!(
        log.contains("TRACE") && log.len() > 10_000,
        "everything is logged: {log}"
    );
    let mut secrets: Vec<String> = Vec::new();
    for line in config
        .expose_secret()
        .lines()
        .chain(kubeconfig.expose_secret().lines())
    {
        let secret = ["token:", "secret:", "key:", "key-data:", "Secret:"]
            .iter()
            .find_map(|key| {
                line.split_once(key)
                    .map(|(_, value)| value.trim().to_owned())
            });
        secrets.extend(secret.filter(|value| value.len() > 12));
    }
    assert!(
        secrets.len() >= 8,
        "the test knows what is secret: {}",
        secrets.len()
    );
    for secret in secrets {
        assert!(
            !log.contains(&secret),
            "a secret of {} characters was logged",
            secret.len()
        );
        assert!(
            !log.contains(&secret[..secret.len().min(40)]),
            "the beginning of a secret was logged"
        );
    }
}
