package vmhost

import (
	"slices"
	"testing"

	"casemate/vmhost/spec"
)

func TestBootIndexes(t *testing.T) {
	for _, c := range []struct {
		boot        []string
		disks, nics []int
	}{
		{[]string{"disk", "network"}, []int{1, 2}, []int{3}},
		{[]string{"network", "disk"}, []int{2, 3}, []int{1}},
		{[]string{"network"}, []int{0, 0}, []int{1}},
		{[]string{"disk"}, []int{1, 2}, []int{0}},
	} {
		disks, nics := bootIndexes(spec.VM{Boot: c.boot, Disks: make([]spec.Disk, 2), NICs: make([]spec.NIC, 1)})
		if !slices.Equal(disks, c.disks) || !slices.Equal(nics, c.nics) {
			t.Errorf("bootIndexes(%v) = %v, %v; want %v, %v", c.boot, disks, nics, c.disks, c.nics)
		}
	}
}
