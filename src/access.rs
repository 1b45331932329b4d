//! The rows that a viewer may see, as values: [`auth`](crate::auth) creates them, and `visible_to` of each entity filters by
//! them.

use crate::id::{UserId, WorkspaceId};

/// The workspaces a viewer may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkspaceAccess {
    /// All workspaces, for an admin.
    All,
    /// The workspaces of a member, oldest first.
    Only(Vec<WorkspaceId>),
}

impl WorkspaceAccess {
    /// Whether the viewer may see a workspace.
    pub fn includes(&self, workspace: WorkspaceId) -> bool {
        match self {
            WorkspaceAccess::All => true,
            WorkspaceAccess::Only(ids) => ids.contains(&workspace),
        }
    }

    /// Restricts the access to one workspace; to none if that is not included. `None` changes nothing.
    #[must_use]
    pub fn narrowed_to(self, workspace: Option<WorkspaceId>) -> WorkspaceAccess {
        match workspace {
            None => self,
            Some(workspace) if self.includes(workspace) => WorkspaceAccess::Only(vec![workspace]),
            Some(_) => WorkspaceAccess::Only(Vec::new()),
        }
    }

    /// Restricts the access to some workspaces: to those of them that are included.
    #[must_use]
    pub fn narrowed_to_each(&self, workspaces: &[WorkspaceId]) -> WorkspaceAccess {
        WorkspaceAccess::Only(workspaces.iter().copied().filter(|id| self.includes(*id)).collect())
    }
}

/// The API tokens a viewer may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenAccess {
    /// The viewer may see all tokens, as an admin.
    pub all: bool,
    /// The viewer, who may see their own tokens.
    pub user: UserId,
    /// The workspaces that the viewer manages, whose tokens they may see.
    pub managed: Vec<WorkspaceId>,
    /// The workspace to which the token of the request is limited. Tokens of other workspaces are not visible with it.
    pub limited_to: Option<WorkspaceId>,
}
