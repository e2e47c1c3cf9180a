//! The keys of a network entry.

use crate::settings::{Keys, keys};

/// The keys of an item of `exempt` are those of an item of `targets`.
pub const KEYS: Keys = keys! {
    "interface" Text "a name, a glob such as `eth*`, `auto`" = "eth0": "where; `auto` is every interface of the default routes, IPv4 and IPv6";
    "interfaces" Strings "a list of such names" or "none": "the same, instead";
    "delay_ms" Number "0 to 10000" = "100, if no other effect is asked for": "holds every packet back";
    "jitter_ms" Number "0 to 10000" or "none": "varies the delay";
    "delay_correlation_percent" Number "0 to 100" or "none": "of the jitter";
    "distribution" Choice "uniform, normal, pareto, paretonormal" or "uniform": "of the jitter";
    "loss_percent" Number "0 to 100" or "none": "loses packets; 100 is all";
    "loss_correlation_percent" Number "0 to 100" or "none": "how much each loss depends on the one before";
    "loss_model" Map "a model and its parameters in percent" or "none": "loses packets in bursts, instead";
    "loss_model.type" Choice "state, gemodel" or "required": "gemodel takes p, r, 1-h, 1-k; state p13, p31, p32, p23, p14; in this order";
    "loss_model.p" Number "0 to 100" or "required": "chance to go from good to bad";
    "loss_model.r" Number "0 to 100" or "100 - p": "back from bad to good";
    "loss_model.1-h" Number "0 to 100" or "100": "loss while bad";
    "loss_model.1-k" Number "0 to 100" or "0": "loss while good";
    "loss_model.p13" Number "0 to 100" or "required": "from received to lost in a burst";
    "loss_model.p31" Number "0 to 100" or "100 - p13": "from lost in a burst to received";
    "loss_model.p32" Number "0 to 100" or "0": "from lost in a burst to received in it";
    "loss_model.p23" Number "0 to 100" or "100": "back to lost in a burst";
    "loss_model.p14" Number "0 to 100" or "0": "from received to lost alone";
    "duplicate_percent" Number "0 to 100" or "none": "sends packets twice";
    "duplicate_correlation_percent" Number "0 to 100" or "none": "as for losses";
    "corrupt_percent" Number "0 to 100" or "none": "flips a bit";
    "corrupt_correlation_percent" Number "0 to 100" or "none": "as for losses";
    "reorder_percent" Number "0 to 100" or "none": "sends some at once while a delay holds the others";
    "reorder_correlation_percent" Number "0 to 100" or "none": "as for losses";
    "gap" Whole "1 to 1000000" or "none": "5: only every fifth packet is a candidate";
    "rate" Text "\"1mbit\", \"250kbit\"" or "none": "limits the speed; as in tc, `1mbit` is bits and `1mbps` bytes a second";
    "rate_packet_overhead" Whole "0 to 65535" or "0": "bytes that each packet counts for besides";
    "rate_cell_size" Whole "0 to 65535" or "0": "bytes of a cell of the link";
    "rate_cell_overhead" Whole "0 to 65535" or "0": "bytes that each cell counts for besides";
    "slot" Map "times in milliseconds" or "none": "sends in bursts";
    "slot.min_ms" Number "0 to 10000" or "required": "shortest time between two bursts";
    "slot.max_ms" Number "0 to 10000" or "`min_ms`": "longest";
    "slot.packets" Whole "1 to 2147483647" or "any": "most packets of a burst";
    "slot.bytes" Whole "1 to 2147483647" or "any": "most bytes of a burst";
    "limit" Whole "1 to 100000000" or "from delay and rate": "packets held back at most; tc's own default of 1000 drops";
    "seed" Whole "0 to 2^64-1" or "none": "netem's own dice, on kernels from 6.6 and a tc that knows the word";
    "partition" Bool "" = "false": "drops everything that matches";
    "direction" Choice "egress, ingress, both" = "egress":
        "what the pod sends, receives, or both; ingress needs ifb in the kernel, but not for a partition";
    "targets" List "a list of rules" or "everything": "only this traffic is met";
    "targets.cidr" Text "`10.0.0.0/8`, `fd00::1`" or "any": "range of addresses";
    "targets.host" Text "a host name or address" or "any": "instead of `cidr`";
    "targets.port" Strings "5432, `\"8000-8100\"`, or a list" or "any": "ports of the other end";
    "targets.ports" Strings "the same" or "any": "instead of `port`";
    "targets.protocol" Choice "tcp, udp, icmp" or "any; with ports TCP and UDP": "over which it goes";
    "targets.side" Choice "destination, source" = "destination": "source: address and ports are those of this pod's end";
    "exempt" List "a list of such rules" or "none": "this traffic never is, whatever the targets say";
    "exempt_defaults" Strings "a list of metrics, dns, gateway, node, probes" = "metrics":
        "the same by name; `node` is the address in the environment variable `NODE_IP` (field `status.hostIP`), `gateway` the routers of all default routes, `probes` both and the neighbours with link-local addresses: whoever may send the kubelet's probes";
    "tc" Choice "auto, builtin, system" = "auto": "the program that sets it: a `tc` from PATH, else the one built in";
};
