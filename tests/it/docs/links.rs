//! Links between pages.

use std::path::Path;

/// The relative links of a page whose file or heading does not exist.
pub(super) fn broken(page: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(super::root().join(page)).unwrap();
    let mut broken = Vec::new();
    for (number, line) in prose(&text) {
        for target in targets(&line) {
            let external = ["https://", "http://", "mailto:"].iter().any(|scheme| target.starts_with(scheme));
            if !external && let Err(problem) = follow(page, target) {
                broken.push(format!("{}:{number}: {target}: {problem}", page.display()));
            }
        }
    }
    broken
}

/// Lines outside of fenced blocks, without text in backticks.
fn prose(text: &str) -> Vec<(usize, String)> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            let plain: Vec<&str> = line.split('`').step_by(2).collect();
            lines.push((number + 1, plain.join("")));
        }
    }
    lines
}

fn targets(line: &str) -> impl Iterator<Item = &str> {
    line.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

fn follow(page: &Path, target: &str) -> Result<(), String> {
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let path = match file {
        "" => super::root().join(page),
        file => super::root().join(page).parent().unwrap().join(file),
    };
    if !path.exists() {
        return Err("there is no such file".to_owned());
    }
    if anchor.is_empty() || anchors(&std::fs::read_to_string(path).unwrap()).iter().any(|name| name == anchor)
    {
        return Ok(());
    }
    Err("there is no such heading".to_owned())
}

/// The anchors of a page's headings, as GitHub generates them.
fn anchors(text: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    let mut fenced = false;
    for line in text.lines() {
        fenced ^= line.starts_with("```");
        if fenced || !line.starts_with('#') {
            continue;
        }
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
        let name: String = kept.map(|c| if c == ' ' { '-' } else { c }).collect();
        let before = anchors.iter().filter(|anchor| **anchor == name).count();
        anchors.push(if before == 0 { name } else { format!("{name}-{before}") });
    }
    anchors
}
