//! What a camera wrote about a photo, in typed form.
