package spec

// NodeInfoPath is where init leaves the node's NodeInfo for vmhostd.
const NodeInfoPath = "/run/casemate/node.json"

// VolumesLock is locked by init while it loads what volumes need (NFS): who
// mounts one takes a shared lock first, and so waits.
const VolumesLock = "/run/casemate/volumes.lock"

// NodeInfo is what init found out and vmhostd needs to know, as JSON.
type NodeInfo struct {
	// Name is the node's host name.
	Name string `json:"name"`
	// Version is casemate's own, Kernel the kernel's release (uname -r).
	Version string `json:"version"`
	Kernel  string `json:"kernel"`
	// Permissive says that SELinux does not enforce, which somebody asked for
	// on the kernel command line.
	Permissive bool       `json:"permissive"`
	Policy     PolicyInfo `json:"policy"`
	// Config is the node configuration, without API: the keys are the gateway's.
	Config Node `json:"config"`
}

// PolicyInfo names the policy that stage0 loaded: digest is "sha256:" and hex
// of the file.
type PolicyInfo struct {
	Version int    `json:"version"`
	Digest  string `json:"digest"`
}
