//! What a viewer may see, as a value: made by [`auth`](crate::auth), taken by `visible_to` of each entity.

use crate::id::{UserId, WorkspaceId};

/// The workspaces a viewer may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkspaceAccess {
    /// All of them: an admin's.
    All,
    /// A member's, oldest first.
    Only(Vec<WorkspaceId>),
}

impl WorkspaceAccess {
    /// Whether this workspace is among them.
    pub fn includes(&self, workspace: WorkspaceId) -> bool {
        match self {
            WorkspaceAccess::All => true,
            WorkspaceAccess::Only(ids) => ids.contains(&workspace),
        }
    }

    /// Access to this workspace alone, and to none if it is not included. `None` changes nothing.
    #[must_use]
    pub fn narrowed_to(self, workspace: Option<WorkspaceId>) -> WorkspaceAccess {
        match workspace {
            None => self,
            Some(workspace) if self.includes(workspace) => WorkspaceAccess::Only(vec![workspace]),
            Some(_) => WorkspaceAccess::Only(Vec::new()),
        }
    }
}

/// The API tokens a viewer may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenAccess {
    /// Every token there is: an admin's.
    pub all: bool,
    /// The viewer, whose own tokens these are.
    pub user: UserId,
    /// Workspaces whose tokens the viewer manages.
    pub managed: Vec<WorkspaceId>,
    /// The workspace that the token in use is limited to: it sees the tokens of no other.
    pub limited_to: Option<WorkspaceId>,
}
