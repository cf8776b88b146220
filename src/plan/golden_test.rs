//! The manifests of the README, and the plan that they come to, field by field: `testdata/readme_plan.json`.

use super::testing::{Answers, Home};
use super::{BottleSpec, Depth};
use crate::manifest::Name;
use std::fs;
use std::path::Path;

fn readme_home() -> Home {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let fences: Vec<_> = text.split("```markdown\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    Home::new()
        .with(".bot-bottle/bottles/base.md", fences[0])
        .with(".bot-bottle/bottles/dev.md", fences[1])
        .with(".bot-bottle/agents/coder.md", fences[2])
        .with(".claude/skills/review/SKILL.md", "")
        .with(".ssh/app_deploy", "")
        .with("repo/.git/HEAD", "")
}

fn values() -> Answers {
    Answers::with(&[("CLAUDE_TOKEN", "canary-1"), ("NPM_TOKEN", "canary-2"), ("FORGE_TOKEN", "canary-3")])
}

#[test]
fn the_readmes_manifests_come_to_this_plan() {
    let home = readme_home();
    let spec = BottleSpec { copy_cwd: true, label: "readme-1".to_owned(), ..home.spec() };
    let prepared = home.prepare_on(&home.host(), spec, Depth::Look, Ok(()), &mut values()).unwrap();
    let plan = &prepared.plan;
    let [_, _, third, _] = plan.bundle_gateway.octets();
    assert!(!plan.bundle_subnet.to_string().contains("/32"));
    let made = serde_json::to_string_pretty(plan).unwrap() + "\n";
    assert!(!made.contains("canary"));
    let made =
        made.replace(&home.0.path().display().to_string(), "HOME").replace(&format!("192.168.{third}."), "192.168.X.");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/plan/testdata/readme_plan.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&golden, &made).unwrap();
    }
    let expected = fs::read_to_string(golden).unwrap();
    for (line, (made, expected)) in made.lines().zip(expected.lines()).enumerate() {
        assert_eq!(made, expected, "line {}", line + 1);
    }
    assert_eq!(made.len(), expected.len(), "one is longer");
}

#[test]
fn the_plan_has_the_seeds_fields() {
    let home = readme_home();
    let prepared = home.look(&mut values()).unwrap();
    let plan = serde_json::to_value(&prepared.plan).unwrap();
    for field in [
        "spec",
        "stage_dir",
        "guest_home",
        "git_gate_plan",
        "egress_plan",
        "supervise_plan",
        "agent_provision",
        "workspace_plan",
        "slug",
        "bundle_subnet",
        "bundle_gateway",
        "bundle_ip",
        "machine_name",
        "agent_image_ref",
        "guest_env",
        "prompt_file",
    ] {
        assert!(plan.get(field).is_some(), "{field}");
    }
    for field in ["template", "command", "image", "dockerfile", "prompt_mode", "bypass_args", "resume_args"] {
        assert!(plan["agent_provision"].get(field).is_some(), "{field}");
    }
    assert_eq!(plan["machine_name"], format!("bot-bottle-{}", plan["slug"].as_str().unwrap()));
    assert_eq!(plan["spec"]["agent_name"], "coder");
    assert_eq!(plan["workspace_plan"]["workdir"], "/home/node", "without --cwd");
    assert_eq!(prepared.plan.bottle_lineage, ["base", "dev"].map(|name| Name::new(name).unwrap()));
}
