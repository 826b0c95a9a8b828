// Package spec holds the two documents that people write for casemate: the VM
// document and the node configuration. It has their types, defaults and
// validation, and nothing that acts on them: the operator's tool and the node
// share it, so it may import neither.
package spec

// VM is the document that describes one virtual machine. Its YAML and JSON
// forms are the same (sigs.k8s.io/yaml), flat, and strict: an unknown field is
// an error.
type VM struct {
	// Name is unique on the node: 1 to 63 of [a-z0-9-], starting with a letter.
	Name string `json:"name"`
	// CPUs is the number of virtual CPUs, 1 to 255. Default 1.
	CPUs int `json:"cpus,omitempty"`
	// Memory is the guest's RAM. Default 512MiB.
	Memory Size `json:"memory,omitempty"`
	// Accelerator is "kvm" (default) or "tcg". There is no fall-back from one
	// to the other: TCG needs execmem, thus another SELinux domain.
	Accelerator string `json:"accelerator,omitempty"`
	// Firmware is "bios" (default) or "uefi".
	Firmware string `json:"firmware,omitempty"`
	// Boot is the order of "disk", "network"; default disk, then network.
	Boot []string `json:"boot,omitempty"`
	// Kernel boots a kernel directly, without firmware's boot order.
	Kernel *Kernel `json:"kernel,omitempty"`
	// Security says how the VM gets its label.
	Security Security `json:"security,omitzero"`
	Disks    []Disk   `json:"disks,omitempty"`
	NICs     []NIC    `json:"nics,omitempty"`
}

// Kernel is a kernel, initrd and command line for direct boot. The files are
// volumes of the form "local/NAME", read-only.
type Kernel struct {
	Image   string `json:"image"`
	Initrd  string `json:"initrd,omitempty"`
	Cmdline string `json:"cmdline,omitempty"`
}

// Security is the VM's seclabel. Mode "dynamic" (default) has the node choose a
// pair of categories that no other VM holds; "static" takes Label's level,
// which must be s0 with exactly two different categories.
type Security struct {
	Mode  string `json:"mode,omitempty"`
	Label string `json:"label,omitempty"`
}

// Disk is one volume as the guest sees it.
type Disk struct {
	// Volume is nfs://host[:port]/export/dir/file or local/NAME.
	Volume string `json:"volume"`
	// Access is "exclusive" or "readonly". Default: readonly for a cdrom and for
	// local/NAME, which cannot be otherwise, else exclusive.
	Access string `json:"access,omitempty"`
	// Format is "qcow2" or "raw". Default: by the file's suffix (.qcow2; .iso,
	// .raw and .img are raw), never by its content, which the guest controls.
	Format string `json:"format,omitempty"`
	// Device is "disk" or "cdrom". Default: cdrom for .iso, else disk.
	Device string `json:"device,omitempty"`
}

// NIC is one virtio network card.
type NIC struct {
	// Bridge names a bridge of the node configuration.
	Bridge string `json:"bridge"`
	// MAC is chosen by the node when empty (52:54:00:…).
	MAC string `json:"mac,omitempty"`
}
