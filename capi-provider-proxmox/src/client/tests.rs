//! The client against a scripted transport.

use std::sync::Mutex;

use async_trait::async_trait;
use hyper::ext::ReasonPhrase;

use super::*;

/// Answers in order, and keeps what was sent.
#[derive(Debug, Default)]
struct Script {
    answers: Mutex<Vec<Result<Response<Bytes>, TransportError>>>,
    sent: Mutex<Vec<Request<Bytes>>>,
}

#[async_trait]
impl Transport for Script {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, TransportError> {
        self.sent.lock().unwrap().push(request);
        let next = {
            let mut answers = self.answers.lock().unwrap();
            if answers.is_empty() {
                None
            } else {
                Some(answers.remove(0))
            }
        };
        match next {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}

fn answer(status: u16, reason: &str, body: &str) -> Result<Response<Bytes>, TransportError> {
    let mut response = Response::builder()
        .status(status)
        .body(Bytes::from(body.to_owned()))
        .unwrap();
    if !reason.is_empty() {
        response
            .extensions_mut()
            .insert(ReasonPhrase::try_from(reason.to_owned()).unwrap());
    }
    Ok(response)
}

fn clock() -> Clock {
    Clock::following_tokio(jiff::Timestamp::UNIX_EPOCH)
}

fn client(script: &Arc<Script>) -> Client {
    Client::builder(
        "https://pve1:8006/api2/json/",
        ApiToken::new("capi@pve!t", "s3cr3t").unwrap(),
        clock(),
    )
    .transport(Arc::clone(script) as Arc<dyn Transport>)
    .build()
    .unwrap()
}

fn script(answers: Vec<Result<Response<Bytes>, TransportError>>) -> Arc<Script> {
    Arc::new(Script {
        answers: Mutex::new(answers),
        sent: Mutex::default(),
    })
}

#[tokio::test]
async fn the_token_is_in_the_header_exactly_and_nowhere_else() {
    let script = script(vec![answer(
        200,
        "OK",
        r#"{"data":{"version":"9.1.2","release":"9.1"}}"#,
    )]);
    let client = client(&script);
    assert_eq!(client.version().await.unwrap().release, "9.1");
    let sent = script.sent.lock().unwrap();
    assert_eq!(
        sent[0].headers()[AUTHORIZATION],
        "PVEAPIToken=capi@pve!t=s3cr3t"
    );
    assert!(!sent[0].headers().contains_key("CSRFPreventionToken"));
    assert_eq!(sent[0].uri(), "https://pve1:8006/api2/json/version");
    let printed = format!("{client:?} {:?} {:?}", sent[0], client.inner.token);
    assert!(!printed.contains("s3cr3t"), "{printed}");
}

#[tokio::test]
async fn the_reason_phrase_is_the_message_when_the_body_has_none() {
    let text = "Configuration file 'nodes/pve1/qemu-server/104.conf' does not exist";
    for body in [r#"{"data":null}"#, "", "<html>oops"] {
        let script = script(vec![answer(500, text, body)]);
        let error = client(&script).vm_status("pve1", 104).await.unwrap_err();
        assert_eq!(error.class(), ErrorClass::Gone);
        assert_eq!(
            error.to_string(),
            format!("GET /nodes/pve1/qemu/104/status/current: 500 {text}")
        );
    }
}

#[tokio::test]
async fn the_message_of_the_body_is_used_when_the_phrase_was_lost_on_the_way() {
    let script = script(vec![answer(
        500,
        "",
        r#"{"data":null,"message":"VM is locked (backup)\n"}"#,
    )]);
    let error = client(&script).start_vm("pve1", 104).await.unwrap_err();
    assert_eq!(
        (error.class(), error.message()),
        (ErrorClass::Locked, "500 VM is locked (backup)".to_owned())
    );
}

#[tokio::test]
async fn parameter_errors_are_kept_by_name_with_all_their_lines() {
    let body = r#"{"data":null,"errors":{"newid":"invalid format\nvalue does not look like a valid VM ID\n"}}"#;
    let script = script(vec![answer(400, "Parameter verification failed.", body)]);
    let error = client(&script)
        .clone_vm("pve1", 9000, &CloneRequest::default())
        .await
        .unwrap_err();
    let Error::Api { answer, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(
        answer.parameters["newid"],
        "invalid format\nvalue does not look like a valid VM ID\n"
    );
    assert_eq!(error.class(), ErrorClass::Invalid);
}

#[tokio::test]
async fn an_empty_595_is_a_node_that_does_not_answer() {
    let script = script(vec![answer(595, "", "")]);
    assert_eq!(
        client(&script)
            .vm_status("pve2", 104)
            .await
            .unwrap_err()
            .class(),
        ErrorClass::NodeDown
    );
}

#[tokio::test]
async fn a_broken_connection_repeats_a_get_once_and_a_post_never() {
    let broken = || Err(TransportError::Broken("reset".into()));
    let gets = script(vec![broken(), answer(200, "", r#"{"data":"104"}"#)]);
    assert_eq!(client(&gets).next_id().await.unwrap(), 104);
    let gets = script(vec![
        broken(),
        broken(),
        answer(200, "", r#"{"data":"104"}"#),
    ]);
    assert_eq!(
        client(&gets).next_id().await.unwrap_err().class(),
        ErrorClass::Unknown
    );
    assert_eq!(gets.sent.lock().unwrap().len(), 2);
    let posts = script(vec![broken(), answer(200, "", r#"{"data":null}"#)]);
    assert_eq!(
        client(&posts)
            .start_vm("pve1", 104)
            .await
            .unwrap_err()
            .class(),
        ErrorClass::Unknown
    );
    assert_eq!(posts.sent.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn the_second_endpoint_is_used_when_the_first_cannot_be_connected() {
    let refused = TransportError::Connect {
        endpoint: "pve1:8006".into(),
        reason: "refused".into(),
    };
    let script = script(vec![
        Err(refused),
        answer(200, "", r#"{"data":7}"#),
        answer(200, "", r#"{"data":8}"#),
    ]);
    let client = Client::builder(
        "https://pve1:8006",
        ApiToken::new("a@b!c", "s").unwrap(),
        clock(),
    )
    .endpoint("https://pve2:8006")
    .transport(Arc::clone(&script) as Arc<dyn Transport>)
    .build()
    .unwrap();
    assert_eq!(
        (
            client.next_id().await.unwrap(),
            client.next_id().await.unwrap()
        ),
        (7, 8)
    );
    let hosts: Vec<_> = script
        .sent
        .lock()
        .unwrap()
        .iter()
        .map(|request| request.uri().host().unwrap().to_owned())
        .collect();
    assert_eq!(hosts, ["pve1", "pve2", "pve2"]);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_an_answer_ends_after_its_time() {
    let script = script(vec![]);
    let started = tokio::time::Instant::now();
    let error = client(&script).next_id().await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::Transport {
                source: TransportError::Timeout(_),
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(started.elapsed(), Duration::from_secs(30));
}

#[tokio::test]
async fn a_resize_answers_null_in_old_releases_and_a_task_in_new_ones() {
    let upid = "UPID:pve1:000003E8:00001B58:6B03D211:resize:104:root@pam:";
    let script = script(vec![
        answer(200, "", r#"{"data":null}"#),
        answer(200, "", &format!(r#"{{"data":"{upid}"}}"#)),
    ]);
    let client = client(&script);
    assert_eq!(
        client
            .resize_disk("pve1", 104, "scsi0", "20G")
            .await
            .unwrap(),
        None
    );
    assert_eq!(
        client
            .resize_disk("pve1", 104, "scsi0", "20G")
            .await
            .unwrap()
            .unwrap()
            .as_str(),
        upid
    );
    let sent = script.sent.lock().unwrap();
    assert_eq!(sent[0].body(), "disk=scsi0&size=20G");
    assert_eq!(sent[0].headers()[CONTENT_LENGTH], "19");
}

#[tokio::test(start_paused = true)]
async fn a_failed_task_tells_its_exit_status_and_the_end_of_its_log() {
    let upid = "UPID:pve1:000003E8:00001B58:6B03D211:qmclone:9000:root@pam:";
    let status = |rest: &str| {
        answer(
            200,
            "",
            &format!(r#"{{"data":{{"upid":"{upid}",{rest}}}}}"#),
        )
    };
    let script = script(vec![
        status(r#""status":"running""#),
        answer(595, "", ""),
        status(r#""status":"stopped","exitstatus":"clone failed: got lock timeout""#),
        answer(
            200,
            "",
            r#"{"data":[{"n":1,"t":"create full clone"},{"n":2,"t":"TASK ERROR: clone failed: got lock timeout"}]}"#,
        ),
    ]);
    let error = client(&script)
        .wait_for_task(&upid.parse().unwrap(), Patience::default())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "task qmclone: clone failed: got lock timeout (create full clone)"
    );
    assert_eq!(error.class(), ErrorClass::Locked);
}

#[tokio::test]
async fn tokens_and_urls_that_cannot_work_are_refused_with_a_reason() {
    for name in ["", "root", "root@pam", "root@pam!", "@pam!x"] {
        assert!(ApiToken::new(name, "s").is_err(), "{name}");
    }
    assert!(ApiToken::new("root@pam!x", "").is_err());
    assert!(ApiToken::new("root@pam!x", "a\nb").is_err());
    let token = || ApiToken::new("root@pam!x", "s").unwrap();
    for url in [
        "",
        "pve1",
        "http://pve1:8006",
        "https://",
        "https://user@pve1:8006",
    ] {
        let error = Client::builder(url, token(), clock())
            .trust(TlsTrust::danger_accept_any())
            .build()
            .unwrap_err();
        assert!(
            error.to_string().contains("no URL of a Proxmox VE node"),
            "{url}: {error}"
        );
    }
    assert!(
        Client::builder("https://pve1:8006", token(), clock())
            .build()
            .unwrap_err()
            .to_string()
            .contains("whose certificate")
    );
}
