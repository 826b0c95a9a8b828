package api

import (
	"reflect"
	"strings"

	"casemate/vmhost/spec"

	"github.com/danielgtaylor/huma/v2"
)

// Version is the API's, as in the paths.
const Version = "1"

func typeOf[T any]() reflect.Type { return reflect.TypeFor[T]() }

// newConfig is huma's without what this API does not have: no documentation
// page that loads scripts from elsewhere, no $schema in answers.
func newConfig() huma.Config {
	config := huma.DefaultConfig("casemate node", Version)
	registry := huma.NewMapRegistry("#/components/schemas/", schemaName)
	registry.RegisterTypeAlias(typeOf[spec.Size](), typeOf[sizeSchema]())
	config.Components.Schemas = registry
	config.Info.Description = "Virtual machines, volumes and the node itself. Callers are known by their client certificate, " +
		"whose OU is their role: viewer reads, operator has VMs and volumes, admin has the node's power. " +
		"Errors are problem documents (RFC 9457)."
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.CreateHooks = nil
	config.RejectUnknownQueryParameters = true
	config.Tags = []*huma.Tag{
		{Name: "vm", Description: "Virtual machines."},
		{Name: "volume", Description: "Volumes of virtual machines."},
		{Name: "node", Description: "The node."},
	}
	return config
}

// schemaName keeps the document and the VM with its status apart.
func schemaName(t reflect.Type, hint string) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == typeOf[spec.VM]() {
		return "VMDocument"
	}
	return huma.DefaultSchemaNamer(t, hint)
}

// sizeSchema describes spec.Size.
type sizeSchema struct{}

func (sizeSchema) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{
		OneOf: []*huma.Schema{
			{Type: huma.TypeString, Pattern: `^[0-9]+ ?(B|KiB|MiB|GiB|TiB|kB|MB|GB|TB)?$`},
			{Type: huma.TypeInteger, Minimum: new(float64)},
		},
		Examples: []any{"2GiB"},
	}
}

// fillDescriptions adds what the types' comments say to the schemas' fields.
func fillDescriptions(doc *huma.OpenAPI) {
	for name, schema := range doc.Components.Schemas.Map() {
		for field, property := range schema.Properties {
			text := descriptions[name+"."+field]
			if text == "" && name == "VM" {
				text = descriptions["VMDocument."+field]
			}
			if property.Description == "" && text != "" {
				property.Description = text
			}
		}
	}
}

// descriptions by schema and field, one a line; a test holds them complete.
var descriptions = parseDescriptions(`
VMDocument.name         Unique on the node: 1 to 63 of a-z, 0-9 and -, starting with a letter.
VMDocument.cpus         Number of virtual CPUs, 1 to 255. Default 1.
VMDocument.memory       The guest's RAM, 32MiB to 16TiB, rounded up to whole MiB. Default 512MiB.
VMDocument.accelerator  kvm (default) or tcg. There is no fall-back from one to the other.
VMDocument.firmware     bios (default) or uefi.
VMDocument.boot         Order of disk and network. Default disk, then network.
VMDocument.kernel       Boots a kernel directly, without the firmware's order.
VMDocument.security     How the VM gets its SELinux label.
VMDocument.disks        Volumes as the guest sees them, at most 16.
VMDocument.nics         Network cards, at most 8.
VM.status               What the node knows about the VM.
Kernel.image            The kernel: local/NAME.
Kernel.initrd           The initial RAM disk: local/NAME.
Kernel.cmdline          The kernel's command line, at most 2048 bytes.
Security.mode           dynamic (default): the node chooses a pair of categories that no other VM has. static: the label's pair.
Security.label          With mode static: a context with exactly two categories, such as system_u:system_r:svirt_t:s0:c12,c733.
Disk.volume             nfs://host[:port]/export/dir/file or local/NAME.
Disk.access             exclusive or readonly. Default readonly for a cdrom and local/NAME, else exclusive.
Disk.format             qcow2 or raw. Default by the file's suffix, never by its content.
Disk.device             disk or cdrom. Default cdrom for .iso, else disk.
NIC.bridge              A bridge of the node's configuration.
NIC.mac                 Chosen by the node when absent.
VMStatus.state          shutoff, running, paused, shutdown (asked to, still running) or crashed.
VMStatus.reason         Explains the state when it was not asked for.
VMStatus.label          SELinux context of the QEMU process, read from the kernel.
VMStatus.imageLabel     SELinux context of the VM's exclusive volumes.
VMStatus.level          The VM's own MCS level, such as s0:c12,c733, which no other VM of the node has.
VMStatus.pid            Process id of QEMU on the node.
VMStatus.uid            User id of QEMU on the node.
VMStatus.accelerator    What the VM runs with: kvm or tcg.
VMStatus.startedAt      When QEMU was started.
VolumeRequest.volume    nfs://host[:port]/export/dir/file. Missing directories below the export are made.
VolumeRequest.size      Size as the guest sees it, 1MiB to 64TiB.
VolumeRequest.format    qcow2 or raw. Default by the file's suffix, else qcow2.
Volume.volume           Name of the volume.
Volume.size             Size as the guest sees it.
Volume.format           qcow2 or raw.
Capabilities.node       Name of the node.
Capabilities.version    Version of casemate on the node.
Capabilities.kernel     Release of the Linux kernel.
Capabilities.qemu       Version of QEMU.
Capabilities.kvm        Whether KVM can be used.
Capabilities.cpus       Number of CPUs.
Capabilities.memory     RAM of the node.
Capabilities.uptime     Seconds since the kernel started.
Capabilities.security   The security model, after libvirt's secmodel.
SecurityModel.model     selinux.
SecurityModel.doi       Domain of interpretation, 0 as with libvirt.
SecurityModel.enforcing Whether the kernel enforces the policy.
SecurityModel.policy    The policy that was loaded before anything else ran.
SecurityModel.baseLabels Label of guests without their pair, by kind: kvm, tcg.
Inspection.processes    Every process of the node.
Inspection.mounts       NFS mounts in the VMs' mount namespaces.
Inspection.sockets      UNIX sockets that belong to VMs.
Process.pid             Process id.
Process.ppid            Process id of the parent.
Process.comm            Name of the program.
Process.kernel          Whether it is a kernel thread.
Process.uid             User id.
Process.label           SELinux context, from /proc/PID/attr/current.
Process.vm              The VM to which the process belongs.
Mount.vm                The VM in whose mount namespace it is.
Mount.source            host:/export/dir.
Mount.target            Where it is in the VM's mount namespace.
Mount.fstype            Type of file system.
Mount.options           Options of the superblock, as in /proc/PID/mountinfo.
Mount.label             SELinux context of the mount's root directory.
Socket.vm               The VM to which the socket belongs.
Socket.path             File on the node.
Socket.kind             qmp or console.
Socket.label            SELinux context of the file.
Socket.peer             SELinux context of the listening socket, which connectto is checked against.
Access.source           SELinux context of the process that asks.
Access.target           SELinux context of the object.
Access.class            Class of the object, such as file.
Access.allowed          The permissions granted, sorted.
ProbeRequest.diskOf     The VM whose first NFS disk is offered; the probed VM's own name is the control.
Probe.accepted          Whether QEMU got the descriptor.
Probe.answer            QEMU's words.
Probe.label             SELinux context of the receiving QEMU.
Probe.object            SELinux context of the descriptor's file.
Policy.version          Version of the binary policy format.
Policy.digest           sha256: and the hex digest of the policy file, as in manifest.json.
`)

func parseDescriptions(table string) map[string]string {
	texts := map[string]string{}
	for line := range strings.Lines(table) {
		if field, text, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			texts[field] = strings.TrimSpace(text)
		}
	}
	return texts
}
