package spec

// Node is the node configuration document. A node gets it at boot and keeps it
// until the next boot. Parsing is strict, as for VM.
type Node struct {
	// Name is the node's host name. Default "casemate".
	Name    string  `json:"name,omitempty"`
	Network Network `json:"network,omitzero"`
	API     API     `json:"api,omitzero"`
	NFS     NFS     `json:"nfs,omitzero"`
	// Media are read-only files that the node fetches into RAM at boot; a VM
	// document names them local/NAME.
	Media []Media `json:"media,omitempty"`
}

// Network has the node's bridges. Without any, the first NIC with link gets DHCP.
type Network struct {
	Bridges []Bridge `json:"bridges,omitempty"`
}

// Bridge is a Linux bridge with the uplink in it; the node's own address moves
// onto the bridge.
type Bridge struct {
	// Name is the interface name of the bridge, at most 15 bytes.
	Name string `json:"name"`
	// Uplink is a NIC's name; empty or "auto" means the first NIC with link,
	// "none" a bridge without uplink.
	Uplink string `json:"uplink,omitempty"`
}

// API has the TLS identity of the node and the authority whose client
// certificates it accepts, all in PEM. Without CA nobody is let in.
type API struct {
	CA          string `json:"ca,omitempty"`
	Certificate string `json:"certificate,omitempty"`
	Key         string `json:"key,omitempty"`
}

// NFS has the identity with which the node opens files on NFS servers
// (AUTH_SYS): the VMs' own uids mean nothing there.
type NFS struct {
	UID uint32 `json:"uid,omitempty"`
	GID uint32 `json:"gid,omitempty"`
}

// Media is one file to fetch at boot.
type Media struct {
	Name string `json:"name"`
	// URL is http or https.
	URL string `json:"url"`
	// SHA256 is the file's digest in hex: the transport is not trusted.
	SHA256 string `json:"sha256"`
}
