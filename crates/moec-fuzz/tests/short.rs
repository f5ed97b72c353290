//! The short run of the fuzzer that every test run does: the same inputs each time.

use moec_fuzz::{Campaign, Limit, Target};

#[track_caller]
fn fuzz(target: Target, executions: u64) {
    let campaign = Campaign { target, seed: 1, limit: Limit::Executions(executions), running: None };
    let report = campaign.run().expect("the corpus can be read");
    assert_eq!(report.executions, executions);
    let shown: Vec<String> = report
        .failures
        .iter()
        .map(|failure| {
            let input = String::from_utf8_lossy(&failure.input);
            format!("{:?}: {}\n{input}", failure.kind, failure.message)
        })
        .collect();
    assert!(shown.is_empty(), "{}", shown.join("\n\n"));
    assert!(report.kept > 10, "damaged inputs reach nothing new: {report:?}");
}

#[test]
fn source_text() {
    fuzz(Target::Source, 1500);
}

#[test]
fn ir_text() {
    fuzz(Target::IrText, 4000);
}

#[test]
fn model_folders() {
    fuzz(Target::ModelFolder, 1500);
}

#[test]
fn weight_files() {
    fuzz(Target::Safetensors, 4000);
}

#[test]
fn packed_files() {
    fuzz(Target::Packed, 4000);
}
