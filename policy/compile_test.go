package policy

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// secilc gives the compiler named by CASEMATE_SECILC (a command line), which
// make test sets.
func secilc(t *testing.T) func(context.Context, ...string) *exec.Cmd {
	t.Helper()
	line := strings.Fields(os.Getenv("CASEMATE_SECILC"))
	if len(line) == 0 {
		t.Skip("CASEMATE_SECILC is not set: make test sets it to the fetched secilc")
	}
	return func(ctx context.Context, args ...string) *exec.Cmd {
		return exec.CommandContext(ctx, line[0], append(line[1:], args...)...)
	}
}

func TestCompile(t *testing.T) {
	out, err := Compile(context.Background(), secilc(t), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(out.Policy)
	if err != nil {
		t.Fatal(err)
	}
	if max := int64(40_000); st.Size() > max {
		t.Errorf("policy is %d bytes; want at most %d", st.Size(), max)
	}
	t.Logf("policy: %d bytes, %s", st.Size(), out.Digest)
}
