// Package policy is the node's SELinux policy (CIL sources in cil/) and the
// words in which the rest of casemate speaks about labels. It compiles, loads
// and queries the policy. It does not label anything: whoever makes an object
// labels it, with a context from here.
package policy

// Contexts of the node's own processes and objects. The types are defined in
// cil/; a test holds the two together.
const (
	KernelContext  = "system_u:system_r:kernel_t:s0"
	InitContext    = "system_u:system_r:init_t:s0"
	VMHostContext  = "system_u:system_r:vmhost_t:s0"
	GatewayContext = "system_u:system_r:gateway_t:s0"

	InitRunContext    = "system_u:object_r:init_run_t:s0"    // /run, /run/casemate
	LogContext        = "system_u:object_r:log_t:s0"         // /run/casemate/log
	VMHostRunContext  = "system_u:object_r:vmhost_run_t:s0"  // /run/casemate/vmhostd
	GatewayRunContext = "system_u:object_r:gateway_run_t:s0" // /run/casemate/gateway
	ChamberContext    = "system_u:object_r:svirt_chamber_t:s0"

	VirtContentContext  = "system_u:object_r:virt_content_t:s0"  // a volume nobody holds
	SvirtContentContext = "system_u:object_r:svirt_content_t:s0" // read-only, any VM
)

// Types of what belongs to one VM; add a level with Context or ObjectContext.
const (
	SvirtType    = "svirt_t"       // QEMU with KVM
	SvirtTCGType = "svirt_tcg_t"   // QEMU without KVM: may execmem
	QemuImgType  = "qemu_img_t"    // qemu-img
	ImageType    = "svirt_image_t" // a volume in use
	SvirtRunType = "svirt_run_t"   // sockets of a VM: QMP, serial
)

// Process gives a process context, such as system_u:system_r:svirt_t:s0:c1,c2.
func Process(typ, level string) string { return "system_u:system_r:" + typ + ":" + level }

// Object gives an object context, such as system_u:object_r:svirt_image_t:s0:c1,c2.
func Object(typ, level string) string { return "system_u:object_r:" + typ + ":" + level }
