// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package text

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestNormalize(t *testing.T) {
	cases := map[string]struct{ text, want string }{
		"a message without anything particular": {"Failed to install software bundle.", "Failed to install software bundle."},
		"RAUC": {"LastError: Installation error: Compatible mismatch: Expected 'demo-board' but bundle manifest has 'other'",
			"LastError: Installation error: Compatible mismatch: Expected 'demo-board' but bundle manifest has 'other'"},
		"RAUC, a slot": {"LastError: Installation error: Failed updating slot rootfs.1: failed to open /dev/mmcblk0p3: Device or resource busy",
			"LastError: Installation error: Failed updating slot rootfs.<n>: failed to open <path>: Device or resource busy"},
		"swupdate": {"[ERROR] : SWUPDATE failed [0] ERROR core/installer.c : install_single_image : 342 : Installer for raw not successful !",
			"[ERROR] : SWUPDATE failed [<n>] ERROR core/installer.c : install_single_image : <n> : Installer for raw not successful !"},
		"numbers":                {"wrote 123456 of 654321 bytes, errno -28; 3.5% left, x=+7", "wrote <n> of <n> bytes, errno <n>; <n>% left, x=<n>"},
		"versions":               {"needs 1.2.3, has 1.2.3-rc4", "needs <n>, has <n>-rc<n>"},
		"lists of numbers":       {"bad blocks 1, 2, 3 and 10/20", "bad blocks <n> and <n>"},
		"numbers in words":       {"slot0 on eth1 failed, sda12", "slot<n> on eth<n> failed, sda<n>"},
		"hexadecimal numbers":    {"crc 0xDEADbeef, got 1a2b3c4d at 7f3e00", "crc <hex>, got <hex> at <hex>"},
		"sums":                   {"sha256 f30c0bddba174c4a94d40a1f84f47d82e208b214bdf54b469b66e357cfbf24d3 expected", "sha<n> <hex> expected"},
		"base64":                 {"digest q1W2e3R4t5Y6u7I8o9P0aS+dF/gHjKlZ== wrong", "digest <id> wrong"},
		"uuids and MACs":         {"part 3F2504E0-4f89-11d3-9a0c-0305e82c3301, eth 0a:1b:2c:3d:4e:5f", "part <id>, eth <id>"},
		"serial numbers":         {"device SN12AB34CD56 said no", "device <id> said no"},
		"paths":                  {`cannot open "/tmp/swupdate-Xy12/fw.bin": no such file, ~/a, ./b/c, (/var/lib/rauc) C:\Temp\fw.bin`, `cannot open "<path>": no such file, <path>, <path>, (<path>) <path>`},
		"not a path":             {"and/or n/a 1/3 http", "and/or n/a <n> http"},
		"times":                  {"2026-11-26T06:10:00.123Z failed, 2026-11-26 06:10:00 +0100 too, Nov 26 06:10:00 too, at 06:10:59, after 3m20s and 12.5ms", "<time> failed, <time> too, <time> too, at <time>, after <time> and <time>"},
		"addresses":              {"connect to 192.168.1.20:8080 and fe80::1, [2001:db8::2]:443: refused", "connect to <ip>:<n> and <ip>, [<ip>]:<n>: refused"},
		"a URL":                  {"GET https://cdn.example.com/fw/2.1/image-17.swu: 404", "GET https://cdn.example.com/<path> <n>"},
		"a URL without a path":   {"GET https://cdn.example.com: 404, https://cdn.example.com/.", "GET https://cdn.example.com: <n>, https://cdn.example.com/."},
		"a URL with credentials": {"curl https://ada:s3cret@cdn.example.com:8443/fw.bin?X-Signature=abc&Expires=17#top failed (22)", "curl https://cdn.example.com:<n>/<path> failed (<n>)"},
		"tokens":                 {"Authorization: TargetToken 0123456789abcdef, Bearer aaaa.bbbb.cccc, password=hunter2 api_key='x y'", "Authorization: TargetToken <secret>, Bearer <secret>, password=<secret> api_key=<secret>"},
		"its own name":           {"gw-north: gw-north2 and xgw-north failed on gw-north.", "<id>: gw-north<n> and xgw-north failed on <id>."},
		"other scripts":          {"Ошибка ٣ в 12 местах", "Ошибка <n> в <n> местах"},
		"control characters":     {"\x1b[31mError\u202e\n 7", "[<n>mError <n>"},
		"nothing":                {" \n", ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := Normalize(tc.text, 256, "gw-north", "x", ""); got != tc.want {
				t.Errorf("\ngot  %s\nwant %s", got, tc.want)
			}
		})
	}
}

// Texts of two devices with the same fault must have the same normal form.
func TestSameFaultHasSameNormalForm(t *testing.T) {
	for name, pair := range map[string][2]string{
		"time and process id":   {"Nov 26 06:10:00 gw app[123]: download failed", "Dec  1 16:40:59 gw app[98765]: download failed"},
		"temporary file":        {"cannot unpack /tmp/tmp.aBc123/x.tar", "cannot unpack /var/tmp/fw-99/y.tar"},
		"signed URL":            {"404 for https://cdn.example.com/a.swu?sig=1", "404 for https://cdn.example.com/b/c.swu?sig=2&e=3"},
		"serial number":         {"modem 0a1b2c does not answer", "modem 99ffee does not answer"},
		"sizes":                 {"no space left: 12.5 MB needed, 3 MB free", "no space left: 100 MB needed, 0.25 MB free"},
		"memory address":        {"segfault at 0x7ffe01 ip 00007f21", "segfault at 0x1 ip 00000abc"},
		"white space":           {"a  failed\n7", " a failed 8 "},
		"length of a list":      {"blocks 1,2,3 failed", "blocks 4 failed"},
		"day of a short log":    {"at 1:02:03 checksum mismatch", "at 23:59:59.999 checksum mismatch"},
		"duration":              {"timed out after 30s", "timed out after 1m30s"},
		"uuid":                  {"volume 3F2504E0-4f89-11d3-9a0c-0305e82c3301 busy", "volume 00000000-0000-0000-0000-000000000000 busy"},
		"negative exit code":    {"exited with -1", "exited with 127"},
		"user of a URL":         {"ftp://a:b@host/x refused", "ftp://host/y refused"},
		"address":               {"no route to 10.0.0.1", "no route to 172.16.254.3"},
		"address of a new kind": {"no route to fe80::1", "no route to 2001:db8:0:0:1::3"},
	} {
		t.Run(name, func(t *testing.T) {
			if a, b := Normalize(pair[0], 256), Normalize(pair[1], 256); a != b {
				t.Errorf("two groups:\n%s\n%s", a, b)
			}
		})
	}
	for _, pair := range [][2]string{{"download failed", "install failed"}, {"slot A busy", "slot B busy"}, {"https://a.example/x 404", "https://b.example/x 404"}} {
		if a, b := Normalize(pair[0], 256), Normalize(pair[1], 256); a == b {
			t.Errorf("one group: %s", a)
		}
	}
}

func TestRedactKeepsTheRest(t *testing.T) {
	for s, want := range map[string]string{
		"GET https://u:p@h.example:8443/fw/a-1.swu?sig=abc: 403 for dev-7":      "GET https://h.example:8443/fw/a-1.swu 403 for dev-7",
		"see https://h.example/a#b and mail ada@example.com, 50% at /dev/sda1?": "see https://h.example/a and mail ada@example.com, 50% at /dev/sda1?",
		"token=abc123 token: expired, the token was wrong":                      "token=<secret> token: expired, the token was wrong",
		"device_token = \"a b\", basic dXNlcjpwYXNz":                            "device_token = <secret>, basic <secret>",
		"": "",
	} {
		if got := Redact(s); got != want {
			t.Errorf("\ngot  %s\nwant %s", got, want)
		}
	}
}

func FuzzNormalize(f *testing.F) {
	f.Add("curl https://ada:s3cret@cdn.example.com:8443/fw.bin?X=1 failed (22) at 0xdead in /tmp/a 12:30:45 fe80::1", "ada")
	f.Add("\x1b\u202e<n>.<n>, <n> -7 1,2 ३", "")
	f.Fuzz(func(t *testing.T, s, own string) {
		got := Normalize(s, 256, own)
		switch {
		case !utf8.ValidString(got) || utf8.RuneCountInString(got) > 256 || Clean(got, 256) != got:
			t.Errorf("%q is not clean", got)
		case strings.ContainsFunc(got, func(r rune) bool { return r >= '0' && r <= '9' }):
			t.Errorf("%q has digits", got)
		case Normalize(s, 256, own) != got:
			t.Error("the same text gives two results")
		}
	})
}
