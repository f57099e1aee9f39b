//! Who may be sent what.

use gossip_api::Tag;

/// Whether a recipient may see messages of this tag, given whether it is of our organisation and whether
/// its organisation is a member of the message's channel.
// fabric: gossip/gossip/gossip_impl.go gossipBatch
pub(crate) fn may_send(tag: Tag, own_org: bool, channel_org: bool) -> bool {
    match tag {
        Tag::Empty => true,
        Tag::OrgOnly => own_org,
        Tag::ChanOnly | Tag::ChanOrOrg => channel_org,
        Tag::ChanAndOrg => own_org && channel_org,
    }
}
