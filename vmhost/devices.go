package vmhost

import (
	"context"
	"fmt"
	"path/filepath"

	"casemate/policy"
	"casemate/vmhost/qemu"
	"casemate/vmhost/spec"
)

// bootIndexes gives each disk and NIC its place in the boot order, in which
// those of one kind follow each other as in the document. 0 is no place.
func bootIndexes(doc spec.VM) (disks, nics []int) {
	disks, nics = make([]int, len(doc.Disks)), make([]int, len(doc.NICs))
	next := 0
	for _, kind := range doc.Boot {
		of := disks
		if kind == spec.BootNetwork {
			of = nics
		}
		for i := range of {
			next++
			of[i] = next
		}
	}
	return disks, nics
}

func (p *plan) nics(context.Context) error {
	_, index := bootIndexes(p.v.doc)
	for i, n := range p.v.doc.NICs {
		tap, err := p.m.sys.openTap(p.v.uid-firstUID, i, n.Bridge, n.MAC)
		if err != nil {
			return fmt.Errorf("VM %s: nics[%d]: %w", p.v.name(), i, err)
		}
		p.machine.NICs = append(p.machine.NICs, qemu.NIC{
			FD: p.inherit(tap), MAC: n.MAC, BootIndex: index[i],
		})
	}
	return nil
}

func (p *plan) firmware(context.Context) error {
	if p.machine.UEFI {
		p.machine.NVRAM = p.open()
		p.chamber.NVRAM = &qemu.Copy{Source: qemu.OVMFVars, Context: p.v.imageLabel(), FD: p.machine.NVRAM}
	}
	return nil
}

const (
	qmpSocket     = "qmp.sock"
	consoleSocket = "console.sock"
)

func (p *plan) sockets(context.Context) error {
	for _, s := range []struct {
		name string
		fd   *int
	}{{qmpSocket, &p.machine.QMP}, {consoleSocket, &p.machine.Serial}} {
		f, err := p.m.listen(filepath.Join(p.m.dir(p.v), s.name), p.v.processLabel(),
			policy.Object(policy.SvirtRunType, p.v.pair.Level()))
		if err != nil {
			return fmt.Errorf("VM %s: socket: %w", p.v.name(), err)
		}
		*s.fd = p.inherit(f)
	}
	return nil
}
