//! Fenced blocks of a page.

use std::path::Path;

/// A fenced block.
pub(super) struct Block {
    /// File and line, as `file:line`.
    pub(super) place: String,
    /// The info string after the opening fence.
    pub(super) kind: String,
    pub(super) text: String,
    /// Whether there are only blank lines between the previous block and this one.
    pub(super) follows: bool,
}

/// The blocks of a page, in order.
pub(super) fn blocks(page: &Path) -> Vec<Block> {
    let text = std::fs::read_to_string(super::root().join(page)).unwrap();
    let mut blocks: Vec<Block> = Vec::new();
    let mut open: Option<(Block, usize)> = None;
    let mut prose = true;
    for (number, line) in text.lines().enumerate() {
        let bare = line.trim_start();
        let indent = line.len() - bare.len();
        match (&mut open, bare.strip_prefix("```")) {
            (None, Some(kind)) => {
                let place = format!("{}:{}", page.display(), number + 1);
                assert!(!kind.trim().is_empty(), "{place}: this block has no language");
                let kind = kind.trim().to_owned();
                open = Some((Block { place, kind, text: String::new(), follows: !prose }, indent));
                prose = false;
            }
            (None, None) => prose |= !bare.is_empty(),
            (Some(_), Some(_)) => blocks.extend(open.take().map(|(block, _)| block)),
            (Some((block, indent)), None) => {
                block.text.push_str(line.get(*indent..).unwrap_or_default());
                block.text.push('\n');
            }
        }
    }
    if let Some((block, _)) = open {
        panic!("{}: this block is not closed", block.place);
    }
    blocks
}
