package policy

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"
)

func cilText(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	files, err := fs.Glob(Sources(), "cil/*.cil")
	if err != nil || len(files) == 0 {
		t.Fatalf("Glob(cil/*.cil) = %v, %v; want files", files, err)
	}
	for _, f := range files {
		b, err := fs.ReadFile(Sources(), f)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	return all.String()
}

// The contexts that the Go code uses name types that the policy has.
func TestContextsHaveTypes(t *testing.T) {
	cil := cilText(t)
	for _, c := range []string{
		KernelContext, InitContext, VMHostContext, GatewayContext, InitRunContext, LogContext,
		VMHostRunContext, GatewayRunContext, ChamberContext, VirtContentContext, SvirtContentContext,
		Process(SvirtType, "s0"), Process(SvirtTCGType, "s0"), Process(QemuImgType, "s0"),
		Object(ImageType, "s0"), Object(SvirtRunType, "s0"),
	} {
		parts := strings.Split(c, ":")
		if len(parts) != 4 || !strings.Contains(cil, "(type "+parts[2]+")") {
			t.Errorf("context %s: no such type in cil/", c)
		}
	}
}

// Few types, none permissive, none that may do everything.
func TestPolicyStaysSmallAndStrict(t *testing.T) {
	cil := cilText(t)
	if n := len(regexp.MustCompile(`(?m)^\(type \w+\)`).FindAllString(cil, -1)); n > 50 || n < 20 {
		t.Errorf("%d types; want 20 to 50", n)
	}
	for _, bad := range []string{"typepermissive", "unconfined", "handleunknown allow"} {
		if strings.Contains(cil, bad) {
			t.Errorf("the policy has %q", bad)
		}
	}
}
