//! The examples that embed one controller end by themselves, with what they promise.

use std::process::Command;

use crate::support::example;

#[test]
fn one_controller_of_ours_rolls_a_deployment_out_in_our_manager_and_in_kubes_controller() {
    for name in ["embed_manager", "embed_kube"] {
        let output = Command::new(example(name)).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{name}: {text}\n{output:?}");
        let sets = |version: &str| {
            let of = format!(": 3 of \"{version}\"");
            text.lines().filter(|line| line.ends_with(&of)).count()
        };
        assert_eq!((sets("v1.33.0"), sets("v1.34.0")), (1, 1), "{name}: {text}");
        assert!(
            text.ends_with("revision \"2\"\nrolled out\n"),
            "{name}: {text}"
        );
    }
}
