//! `Node`: objects by their ids, of whatever type.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use async_graphql::parser::types::Field;
use async_graphql::registry::Registry;
use async_graphql::{
    Context, ContextSelectionSet, ID, Interface, OutputType, Positioned, ServerResult, Value,
};

use crate::error::Error;
use crate::graphql::rows::{LoadRows, resolve_one, selected_columns};
use crate::graphql::types::api_token::ApiToken;
use crate::graphql::types::direct_upload::DirectUpload;
use crate::graphql::types::file::File;
use crate::graphql::types::image::Image;
use crate::graphql::types::viewer::User;
use crate::graphql::types::workspace::Workspace;
use crate::graphql::types::workspace_member::WorkspaceMember;
use crate::id::AnyId;

/// An object that can be re-fetched by its id.
#[derive(Interface)]
#[graphql(field(name = "id", ty = "ID", desc = "Prefixed, globally unique, opaque id."))]
pub enum Node {
    Workspace(Workspace),
    User(User),
    File(File),
    Image(Image),
    DirectUpload(DirectUpload),
    WorkspaceMember(WorkspaceMember),
    ApiToken(ApiToken),
}

/// A [`Node`] whose row is written as JSON, as other rows are.
pub enum NodeRow {
    Workspace(Arc<Workspace>),
    User(Arc<User>),
    File(Arc<File>),
    Image(Arc<Image>),
    DirectUpload(Arc<DirectUpload>),
    WorkspaceMember(Arc<WorkspaceMember>),
    ApiToken(Arc<ApiToken>),
}

impl OutputType for NodeRow {
    fn type_name() -> Cow<'static, str> {
        Node::type_name()
    }

    fn create_type_info(registry: &mut Registry) -> String {
        Node::create_type_info(registry)
    }

    fn introspection_type_name(&self) -> Cow<'static, str> {
        match self {
            NodeRow::Workspace(_) => Workspace::type_name(),
            NodeRow::User(_) => User::type_name(),
            NodeRow::File(_) => File::type_name(),
            NodeRow::Image(_) => Image::type_name(),
            NodeRow::DirectUpload(_) => DirectUpload::type_name(),
            NodeRow::WorkspaceMember(_) => WorkspaceMember::type_name(),
            NodeRow::ApiToken(_) => ApiToken::type_name(),
        }
    }

    async fn resolve(&self, ctx: &ContextSelectionSet<'_>, field: &Positioned<Field>) -> ServerResult<Value> {
        match self {
            NodeRow::Workspace(row) => resolve_one(&**row, ctx, field).await,
            NodeRow::User(row) => resolve_one(&**row, ctx, field).await,
            NodeRow::File(row) => resolve_one(&**row, ctx, field).await,
            NodeRow::Image(row) => resolve_one(&**row, ctx, field).await,
            NodeRow::DirectUpload(row) => resolve_one(&**row, ctx, field).await,
            NodeRow::WorkspaceMember(row) => resolve_one(&**row, ctx, field).await,
            NodeRow::ApiToken(row) => resolve_one(&**row, ctx, field).await,
        }
    }
}

/// The objects of one type; `Err` if the token may not read them, or if they cannot be read.
type Found<K, T> = Result<HashMap<K, Arc<T>>, Arc<Error>>;

/// An object; `None` if there is none with this id, or the viewer may not see it.
pub type FoundNode = Option<Result<NodeRow, Arc<Error>>>;

/// The objects with these ids, in their order: one statement for each type.
pub async fn find_nodes(ctx: &Context<'_>, ids: &[AnyId]) -> Vec<FoundNode> {
    /// The ids of one type.
    macro_rules! of {
        ($kind:ident) => {
            ids.iter().filter_map(|id| match id {
                AnyId::$kind(id) => Some(*id),
                _ => None,
            })
        };
    }
    let (workspaces, users, files, images, uploads, members, tokens) = tokio::join!(
        load(ctx, of!(WorkspaceId)),
        load(ctx, of!(UserId)),
        load(ctx, of!(FileId)),
        load(ctx, of!(ImageId)),
        load(ctx, of!(DirectUploadId)),
        load(ctx, of!(MembershipId)),
        load(ctx, of!(ApiTokenId)),
    );
    let node = |id: &AnyId| match id {
        AnyId::WorkspaceId(id) => node_of(&workspaces, id, NodeRow::Workspace),
        AnyId::UserId(id) => node_of(&users, id, NodeRow::User),
        AnyId::FileId(id) => node_of(&files, id, NodeRow::File),
        AnyId::ImageId(id) => node_of(&images, id, NodeRow::Image),
        AnyId::DirectUploadId(id) => node_of(&uploads, id, NodeRow::DirectUpload),
        AnyId::MembershipId(id) => node_of(&members, id, NodeRow::WorkspaceMember),
        AnyId::ApiTokenId(id) => node_of(&tokens, id, NodeRow::ApiToken),
    };
    ids.iter().map(node).collect()
}

async fn load<K, T>(ctx: &Context<'_>, ids: impl Iterator<Item = K>) -> Found<K, T>
where
    K: Eq + Hash,
    T: LoadRows<K>,
{
    let ids: Vec<K> = ids.collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let found = T::load(ctx, ids, &selected_columns::<T>(ctx)).await.map_err(Arc::new)?;
    Ok(found.into_iter().map(|(id, row)| (id, Arc::new(row))).collect())
}

fn node_of<K: Eq + Hash, T>(found: &Found<K, T>, id: &K, node: fn(Arc<T>) -> NodeRow) -> FoundNode {
    match found {
        Ok(found) => found.get(id).map(|row| Ok(node(Arc::clone(row)))),
        Err(problem) => Some(Err(Arc::clone(problem))),
    }
}
