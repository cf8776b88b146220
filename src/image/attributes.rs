//! Which extended attributes a root file system has, wherever they come from. Law: pure.

use super::erofs::xattr_fits;

/// Not those that EROFS has no number or no room for, nor overlayfs's own, with which an image could redirect the guest's overlay mount.
pub(crate) fn is_storable(name: &[u8], value: &[u8]) -> bool {
    xattr_fits(name, value) && !name.starts_with(b"trusted.overlay.") && !name.starts_with(b"user.overlay.")
}
