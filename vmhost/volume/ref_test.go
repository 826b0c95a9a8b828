package volume

import (
	"context"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for in, want := range map[string]Ref{
		"nfs://filer/exports/web-1/root.qcow2":       {"filer", 2049, "/exports/web-1", "root.qcow2"},
		"nfs://Filer.LAN:20049/mem/a.raw":            {"filer.lan", 20049, "/mem", "a.raw"},
		"nfs://10.0.2.2/mem/web_1/disk@1.img":        {"10.0.2.2", 2049, "/mem/web_1", "disk@1.img"},
		"nfs://[2001:DB8:0::1]:2049/e/d/a.raw":       {"2001:db8::1", 2049, "/e/d", "a.raw"},
		"nfs://[::ffff:10.0.2.2]:111/e/a.raw":        {"10.0.2.2", 111, "/e", "a.raw"},
		"local/tools.iso":                            {File: "tools.iso"},
		"nfs://a/" + strings.Repeat("d", 255) + "/f": {"a", 2049, "/" + strings.Repeat("d", 255), "f"},
	} {
		got, err := Parse(in)
		if err != nil || got != want {
			t.Errorf("Parse(%s) = %+v, %v; want %+v", in, got, err, want)
			continue
		}
		if again, err := Parse(got.String()); err != nil || again != got {
			t.Errorf("Parse(%s) = %+v, %v; want %+v again", got, again, err, got)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for what, in := range map[string]string{
		"nothing":               "",
		"a path":                "/etc/shadow",
		"another scheme":        "http://filer/e/d/f",
		"no host":               "nfs:///e/d/f",
		"no directory":          "nfs://filer/f",
		"no path":               "nfs://filer",
		"a directory":           "nfs://filer/e/d/",
		"dot-dot":               "nfs://filer/e/../f",
		"dot":                   "nfs://filer/e/./f",
		"an empty element":      "nfs://filer/e//f",
		"dot-dot, escaped":      "nfs://filer/e/%2e%2e/f",
		"a slash, escaped":      "nfs://filer/e%2ff/g",
		"a NUL":                 "nfs://filer/e/d\x00/f",
		"a line break":          "nfs://filer/e/d\n/f",
		"an escape":             "nfs://filer/e/d\x1b[0m/f",
		"a comma in the path":   "nfs://filer/e,sec=none/f",
		"a comma in the host":   "nfs://filer,sec=none/e/f",
		"a quote":               `nfs://filer/e"/f`,
		"a backslash":           `nfs://filer/e\134/f`,
		"a blank":               "nfs://filer/e /f",
		"a user":                "nfs://root@filer/e/f",
		"a user and password":   "nfs://root:x@filer/e/f",
		"a query":               "nfs://filer/e/f?x",
		"an empty query":        "nfs://filer/e/f?",
		"a fragment":            "nfs://filer/e/f#x",
		"port 0":                "nfs://filer:0/e/f",
		"port 65536":            "nfs://filer:65536/e/f",
		"a port in letters":     "nfs://filer:nfs/e/f",
		"a short IPv4 address":  "nfs://127.1/e/f",
		"a decimal address":     "nfs://2130706433/e/f",
		"a hex address":         "nfs://0x7f.1/e/f",
		"an octal address":      "nfs://0177.0.0.1/e/f",
		"a zone":                "nfs://[fe80::1%25eth0]/e/f",
		"the unspecified host":  "nfs://0.0.0.0/e/f",
		"an empty label":        "nfs://filer..lan/e/f",
		"a long label":          "nfs://" + strings.Repeat("a", 64) + "/e/f",
		"a long host":           "nfs://" + strings.Repeat("a.", 127) + "/e/f",
		"a long element":        "nfs://filer/e/" + strings.Repeat("f", 256),
		"a long path":           "nfs://filer" + strings.Repeat("/dddddddd", 500) + "/f",
		"a local path":          "local/a/b",
		"local dot-dot":         "local/..",
		"a local name, missing": "local/",
		"an option":             "local/-v",
	} {
		if got, err := Parse(in); err == nil {
			t.Errorf("Parse(%q) (%s) = %+v; want an error", in, what, got)
		}
	}
}

// FuzzParse holds that whatever passes is safe as mount data and as a path, and
// has one form.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"nfs://filer/exports/web-1/root.qcow2", "nfs://[::1]:1/a/b", "local/x", "nfs://a,b/c/d",
		"nfs://h/a/../b", "nfs://h:0/a/b", "nfs://u@h/a/b", "nfs://h/a%00/b", "nfs://[::ffff:1.2.3.4]/a/b",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := Parse(s)
		if err != nil {
			return
		}
		for _, part := range []string{r.Server, r.Dir, r.File} {
			if strings.ContainsAny(part, ",\"'\\%?# ") || strings.ContainsFunc(part, func(c rune) bool { return c < ' ' || c > '~' }) {
				t.Errorf("Parse(%q) = %+v; want no special characters", s, r)
			}
		}
		if r.Server != strings.ToLower(r.Server) || r.File == "" || strings.Contains(r.File, "/") {
			t.Errorf("Parse(%q) = %+v; want canonical parts", s, r)
		}
		for _, e := range strings.Split(r.Dir, "/") {
			if e == ".." || e == "." || len(e) > nameMax {
				t.Errorf("Parse(%q) has path element %q", s, e)
			}
		}
		if !r.Local() && (r.Port == 0 || len(r.Dir) < 2 || r.Dir[0] != '/') {
			t.Errorf("Parse(%q) = %+v; want a port and an absolute directory", s, r)
		}
		if again, err := Parse(r.String()); err != nil || again != r {
			t.Errorf("Parse(%q) = %+v; its String %s gives %+v, %v", s, r, r, again, err)
		}
	})
}

func TestResolve(t *testing.T) {
	ref, err := Parse("nfs://127.0.0.1:20049/mem/web-1/a.raw")
	if err != nil {
		t.Fatal(err)
	}
	d, err := ref.Resolve(context.Background())
	want := Directory{"127.0.0.1", netip.MustParseAddrPort("127.0.0.1:20049"), "/mem/web-1"}
	if err != nil || d != want {
		t.Errorf("Resolve(%s) = %+v, %v; want %+v", ref, d, err, want)
	}
	if err := d.check(); err != nil {
		t.Errorf("check(%s) = %v", d, err)
	}
	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	var back Directory
	if err := json.Unmarshal(b, &back); err != nil || back != d {
		t.Errorf("JSON %s gives %+v, %v", b, back, err)
	}
	if _, err := (Ref{File: "a.iso"}).Resolve(context.Background()); err == nil {
		t.Error("Resolve(local/a.iso) = nil error")
	}
}

func TestDirectoryCheckRefuses(t *testing.T) {
	addr := netip.MustParseAddrPort("10.0.2.2:2049")
	for what, d := range map[string]Directory{
		"no address":    {"filer", netip.AddrPort{}, "/e"},
		"port 0":        {"filer", netip.MustParseAddrPort("10.0.2.2:0"), "/e"},
		"mapped":        {"filer", netip.MustParseAddrPort("[::ffff:10.0.2.2]:1"), "/e"},
		"zone":          {"filer", netip.MustParseAddrPort("[fe80::1%lo]:1"), "/e"},
		"upper case":    {"Filer", addr, "/e"},
		"host option":   {"filer,sec=none", addr, "/e"},
		"relative":      {"filer", addr, "e"},
		"dot-dot":       {"filer", addr, "/e/.."},
		"trailing":      {"filer", addr, "/e/"},
		"quote in path": {"filer", addr, `/e"`},
	} {
		if err := d.check(); err == nil {
			t.Errorf("check(%+v) (%s) = nil", d, what)
		}
	}
}
