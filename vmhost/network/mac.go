package network

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net"
)

// MAC gives the default address of a VM's NIC: 52:54:00, as QEMU and libvirt
// have it, and three bytes that depend on the VM's name and the NIC's index
// only, so that a guest keeps its address wherever it runs. Among 1,000 NICs on
// one network the chance that two are equal is 3 %: document addresses there.
func MAC(vm string, nic int) net.HardwareAddr {
	sum := sha256.Sum256(fmt.Appendf(nil, "casemate MAC %s %d", vm, nic))
	return net.HardwareAddr{0x52, 0x54, 0x00, sum[0], sum[1], sum[2]}
}

// ParseMAC reads the MAC address of one Ethernet card, six bytes in hex.
func ParseMAC(s string) (net.HardwareAddr, error) {
	mac, err := net.ParseMAC(s)
	switch {
	case err != nil || len(mac) != 6:
		return nil, fmt.Errorf("MAC address %q: want six bytes as in 52:54:00:12:34:56", s)
	case mac[0]&1 != 0:
		return nil, fmt.Errorf("MAC address %q: is a group's (lowest bit of the first byte)", s)
	case bytes.Equal(mac, make([]byte, 6)):
		return nil, fmt.Errorf("MAC address %q: is nobody's", s)
	case mac[0] == 0xfe:
		return nil, fmt.Errorf("MAC address %q: fe as first byte is kept for the node's taps", s)
	}
	return mac, nil
}
