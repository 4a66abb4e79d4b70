from django.test import TestCase, override_settings

from django_sshbox.models import SSHKey

from .example import fingerprint, line, public
from .site_app.models import Member

PAGE = "/admin/django_sshbox/sshkey/"


class Admin(TestCase):
    def setUp(self):
        self.alice = Member.objects.create_user("alice")
        self.client.force_login(Member.objects.create_superuser("root"))

    def add(self, public_key, user=None):
        user = self.alice.pk if user is None else user
        data = {"user": user, "title": "", "public_key": public_key}
        return self.client.post(f"{PAGE}add/", data)

    def test_add_list_search_change(self):
        self.assertRedirects(self.add(public() + "\r\n"), PAGE)
        key = SSHKey.objects.get()
        self.assertEqual((key.user, key.public_key), (self.alice, line()))
        for query in ("", "?q=alice", "?q=comment", f"?q={key.fingerprint[8:20]}"):
            self.assertContains(self.client.get(PAGE + query), fingerprint(line()))
        self.assertNotContains(self.client.get(f"{PAGE}?q=nobody"), "SHA256:")
        page = self.client.get(f"{PAGE}{key.pk}/change/")
        self.assertContains(page, fingerprint(line()))
        self.assertNotContains(page, 'name="fingerprint"')
        self.assertNotContains(page, 'name="key_type"')

    def test_an_invalid_key_is_explained(self):
        self.assertContains(self.add(f"no-pty {line()}"), "Options are not accepted")
        self.assertContains(self.add("<script>alert(1)</script>"), "&lt;script&gt;")
        self.assertContains(self.add(""), "This field is required", count=1)
        self.assertNotContains(self.add(""), "There is no key")
        self.assertContains(self.add(public(), user=""), "This field is required", count=1)
        self.assertFalse(SSHKey.objects.exists())

    def test_a_duplicate_key_is_explained(self):
        self.add(public())
        self.assertContains(self.add(line() + " again"), "already has this key")
        self.assertEqual(SSHKey.objects.count(), 1)

    def test_p3_too_many_keys_are_explained(self):
        SSHKey.objects.bulk_create(
            SSHKey(user=self.alice, public_key="x", fingerprint=str(number)) for number in range(100)
        )
        text = "This user already has 100 keys, which is the maximum. Remove one first."
        self.assertContains(self.add(public()), text, count=1)
        self.assertEqual(SSHKey.objects.count(), 100)

    def test_hidden_where_the_site_keeps_its_own_keys(self):
        self.assertContains(self.client.get("/admin/"), PAGE)
        with override_settings(SSHBOX_KEY_MODEL="site_app.WorkspaceSSHKey"):
            self.assertNotContains(self.client.get("/admin/"), PAGE)
