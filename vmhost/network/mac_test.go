package network

import "testing"

func TestMAC(t *testing.T) {
	seen := map[string]bool{}
	for _, vm := range []string{"web-1", "web-2", "web-11", "web-"} {
		for nic := range 12 {
			mac := MAC(vm, nic).String()
			if mac != MAC(vm, nic).String() || mac[:9] != "52:54:00:" {
				t.Errorf("MAC(%s, %d) = %s, %s; want 52:54:00 and the same again", vm, nic, mac, MAC(vm, nic))
			}
			if _, err := ParseMAC(mac); err != nil {
				t.Errorf("ParseMAC(%s) = %v", mac, err)
			}
			if seen[mac] {
				t.Errorf("MAC(%s, %d) = %s, as another NIC has", vm, nic, mac)
			}
			seen[mac] = true
		}
	}
	// Guests depend on it: a change of the function changes their addresses.
	if got := MAC("web-1", 0).String(); got != "52:54:00:be:ab:a6" {
		t.Errorf("MAC(web-1, 0) = %s; want 52:54:00:be:ab:a6", got)
	}
}

func TestParseMACRefuses(t *testing.T) {
	for _, s := range []string{"", "52:54:00:12:34", "52:54:00:12:34:56:78:9a", "52:54:00:12:34:5g",
		"01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "fe:54:00:12:34:56"} {
		if mac, err := ParseMAC(s); err == nil {
			t.Errorf("ParseMAC(%q) = %s; want an error", s, mac)
		}
	}
}

func TestTapName(t *testing.T) {
	for _, tt := range []struct {
		vm   uint32
		nic  int
		want string
	}{
		{0, 0, "cm0n0"}, {12, 3, "cm12n3"}, {4294967295, 99, "cm4294967295n99"},
		{4294967295, 100, ""}, {1, -1, ""},
	} {
		if got, err := TapName(tt.vm, tt.nic); got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("TapName(%d, %d) = %q, %v; want %q", tt.vm, tt.nic, got, err, tt.want)
		}
	}
}
