//! Builds pages of lists, bounded by the length of their JSON text.

use crate::domain::page::Page;
use crate::wire::size::JsonBytes;

/// Maximum length of the text around the items, in bytes: `{"conversations":[],"total":18446744073709551615}`.
pub(crate) const LIST_FRAME_BYTES: usize = 64;

/// The items of a page under construction.
pub(crate) struct PageBuilder<T> {
    items: Vec<T>,
    bytes: usize,
    bytes_max: usize,
    truncated: bool,
}

impl<T: JsonBytes> PageBuilder<T> {
    /// A page with at most `bytes_max` bytes of JSON text.
    pub(crate) fn new(bytes_max: usize) -> PageBuilder<T> {
        PageBuilder { items: Vec::new(), bytes: LIST_FRAME_BYTES, bytes_max, truncated: false }
    }

    /// Adds an item if it fits. The first item is always added, so that a client can continue after it. Returns whether more
    /// items may be added.
    pub(crate) fn add(&mut self, item: T) -> bool {
        // 1 for the comma before the item.
        self.bytes += 1 + item.json_bytes();
        self.truncated = self.bytes > self.bytes_max && !self.items.is_empty();
        if !self.truncated {
            self.items.push(item);
        }
        !self.truncated
    }

    /// The number of items.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// The length of the JSON text of the items, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The page of a list with `total` items.
    pub(crate) fn finish(self, total: u64) -> Page<T> {
        Page { items: self.items, total, truncated: self.truncated }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::limits::LIST_BYTES_MAX;
    use crate::base::time::WallTime;
    use crate::domain::id::{UserId, WorkspaceId};
    use crate::domain::model::{Metadata, Workspace, WorkspaceDescription, WorkspaceName};
    use crate::domain::query::QueryResult;
    use crate::wire::query_result::query_body;
    use uuid::Uuid;

    fn workspace(number: usize, metadata: &Metadata) -> Workspace {
        Workspace {
            id: WorkspaceId(Uuid::from_u128(number as u128)),
            owner: UserId::new_unchecked("o"),
            name: WorkspaceName::new_unchecked("\u{1}".repeat(number % 100)),
            description: WorkspaceDescription::new_unchecked("d"),
            metadata: metadata.clone(),
            created_at: WallTime(0),
            updated_at: WallTime(0),
        }
    }

    /// The number of workspaces of `count` that fit, and the length of the response.
    fn fit(count: usize, metadata: &Metadata, bytes_max: usize) -> (usize, usize) {
        let mut builder = PageBuilder::new(bytes_max);
        (0..count).all(|number| builder.add(workspace(number, metadata)));
        let page = builder.finish(count as u64);
        let items = page.items.len();
        assert_eq!(page.truncated, items < count);
        (items, query_body(&QueryResult::Workspaces(page)).unwrap().body.len())
    }

    #[test]
    fn a_page_ends_early_rather_than_exceed_its_bound() {
        let (_, whole) = fit(10, &Metadata::empty(), usize::MAX);
        let mut sizes = Vec::new();
        for bytes_max in 0..=whole + LIST_FRAME_BYTES {
            let (items, bytes) = fit(10, &Metadata::empty(), bytes_max);
            assert!(bytes <= bytes_max || items == 1, "{bytes} > {bytes_max}");
            sizes.push(items);
        }
        assert!(sizes.is_sorted() && sizes[0] == 1 && sizes[sizes.len() - 1] == 10 && sizes.contains(&5));
    }

    #[test]
    fn a_page_of_the_largest_items_stays_within_the_limit() {
        let large = Metadata::new_unchecked(format!("{{\"a\":\"{}\"}}", "x".repeat(60 * 1024)));
        let (items, bytes) = fit(1000, &large, LIST_BYTES_MAX);
        assert!(items < 1000 && bytes <= LIST_BYTES_MAX);
        assert!(bytes > LIST_BYTES_MAX - 64 * 1024, "the page has as many items as fit");
    }
}
